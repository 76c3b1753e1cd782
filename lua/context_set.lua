-- Replaces a session's or a state's document and counts its version up.
--
-- Uses: once
-- KEYS[1] -> {<namespace>:<partition>}:session:<dfid> or :state:<agent_id>  hash
-- KEYS[2] -> {<namespace>:<partition>}:op:<session>  string
-- ARGV[1..] = field, value, ... of the record
-- ARGV[last-1] = the operation's number in its session
-- ARGV[last] = how long the session is kept, milliseconds
-- Reply: "OK"
local context_key = KEYS[1]

return once(function()
  redis.call('HINCRBY', context_key, 'version', 1) -- may fail on garbage, so it comes first
  redis.call('HSET', context_key, unpack(ARGV, 1, #ARGV - 2))
  return 'OK'
end)
