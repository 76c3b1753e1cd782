-- Reads what all flows and one flow hold of a resource, in one step.
--
-- Uses: clock, reservations
-- KEYS[1] -> {<namespace>:0}:lock_totals  hash, units held by all by resource_id
-- KEYS[2] -> {<namespace>:0}:lock_flows  hash, what each flow holds by dfid
-- KEYS[3] -> {<namespace>:0}:lock_leases  sorted set, dfid by the end of its lease
-- ARGV[1] = resource_id
-- ARGV[2] = dfid
-- Reply: {units held by all, units held by the flow}, strings; {"EXPIRED"} if a lease has run out,
-- which has to be ended before
local totals_key, flows_key, leases_key = KEYS[1], KEYS[2], KEYS[3]
local resource_id, dfid = ARGV[1], ARGV[2]

local now = as_digits(server_time())
if redis.call('ZCOUNT', leases_key, '-inf', now) > 0 then
  return { 'EXPIRED' }
end
local flow = parse_flow(redis.call('HGET', flows_key, dfid), 2)
return { redis.call('HGET', totals_key, resource_id) or '0', flow.units[resource_id] or '0' }
