-- Reads what all flows and one flow hold of a resource, in one step.
--
-- KEYS[1] -> {<namespace>:0}:lock_totals  hash, units held by all by resource_id
-- KEYS[2] -> {<namespace>:0}:lock_flow:<dfid>  hash, units held by resource_id
-- ARGV[1] = resource_id
-- Reply: {units held by all, units held by the flow}, strings, or false where there are none
local totals_key, flow_key = KEYS[1], KEYS[2]
local resource_id = ARGV[1]

return { redis.call('HGET', totals_key, resource_id), redis.call('HGET', flow_key, resource_id) }
