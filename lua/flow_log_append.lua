-- Appends a row to a partition's log and its entry id to the flow's index.
--
-- Uses: once, log
-- KEYS[1] -> {<namespace>:<partition>}:audit or :transitions  stream
-- KEYS[2] -> {<namespace>:<partition>}:audit_flow:<dfid> or :transitions_flow:<dfid>  list of ids
-- KEYS[3] -> {<namespace>:<partition>}:op:<session>  string
-- ARGV[1..] = field, value, ... of the row
-- ARGV[last-1] = the operation's number in its session
-- ARGV[last] = how long the session is kept, milliseconds
-- Reply: the entry id
local log_key, flow_key = KEYS[1], KEYS[2]

return once(function()
  redis.call('LLEN', flow_key) -- a key of another type fails here, before anything is written
  return append_row(log_key, flow_key, ARGV, 1, #ARGV - 2)
end)
