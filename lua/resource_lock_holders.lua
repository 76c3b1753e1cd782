-- Reads who holds how much of a resource, since when and until when.
--
-- Uses: clock, reservations
-- KEYS[1] -> {<namespace>:0}:lock_holders  sorted set, resource_id and dfid
-- KEYS[2] -> {<namespace>:0}:lock_flows  hash, what each flow holds by dfid
-- ARGV[1] = resource_id
-- Reply: {dfid, units, since, end of the lease, token, ...}, moments in microseconds, without those
-- whose lease has run out; the end is "0" without a lease, the token "0" without one
local holders_key, flows_key = KEYS[1], KEYS[2]
local resource_id = ARGV[1]

local now = server_time()
local holders = {}
for _, member in ipairs(members_of(holders_key, resource_id, -1)) do
  local dfid = string.sub(member, #member_of(resource_id, '') + 1)
  local flow = parse_flow(redis.call('HGET', flows_key, dfid), 2)
  if not flow.units[resource_id] then
    error('DIRCORRUPT 2')
  end
  if flow.ends == '0' or tonumber(flow.ends) > now then
    for _, value in ipairs({
      dfid, flow.units[resource_id], flow.since[resource_id], flow.ends, flow.token,
    }) do
      holders[#holders + 1] = value
    end
  end
end
return holders
