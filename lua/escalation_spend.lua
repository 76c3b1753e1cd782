-- Records one budget token of an agent at the server's time.
--
-- Uses: once
-- KEYS[1] -> {<namespace>:0}:budget:<agent_id>  sorted set, token by microseconds
-- KEYS[2] -> {<namespace>:0}:op:<session>  string
-- ARGV[1] = token, a random name
-- ARGV[2] = the operation's number in its session
-- ARGV[3] = how long the session is kept, milliseconds
-- Reply: "OK"
local budget_key = KEYS[1]
local token = ARGV[1]

return once(function()
  local time = redis.call('TIME')
  local moment = tonumber(time[1]) * 1000000 + tonumber(time[2])
  redis.call('ZADD', budget_key, string.format('%.0f', moment), token)
  return 'OK'
end)
