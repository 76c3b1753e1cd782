-- Reads the ids that flows have in a log, for whoever compares them with the log itself.
--
-- KEYS[1..] -> {<namespace>:<partition>}:ledger_flow:<dfid>  list of ids, one for each flow
-- ARGV[1] = ids of each flow at most
-- Reply: {{id, ...}, ...} in the order of the flows
local first_key = KEYS[1]
local last = tonumber(ARGV[1]) - 1

local ids = { redis.call('LRANGE', first_key, 0, last) }
for position = 2, #KEYS do
  local flow_key = KEYS[position]
  ids[position] = redis.call('LRANGE', flow_key, 0, last)
end
return ids
