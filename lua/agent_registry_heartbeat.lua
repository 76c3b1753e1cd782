-- Says that an agent lives, if the session is its latest.
--
-- Uses: once, clock
-- KEYS[1] -> {<namespace>:<partition>}:agent:<agent_id>  hash
-- KEYS[2] -> {<namespace>:<partition>}:agents_heartbeat  sorted set, agent_id by when it is stale
-- KEYS[3] -> {<namespace>:<partition>}:op:<session>  string
-- ARGV[1] = agent_id
-- ARGV[2] = the session's token
-- ARGV[3] = after how long without another heartbeat it is stale, microseconds
-- ARGV[4] = the operation's number in its session
-- ARGV[5] = how long the session is kept, milliseconds
-- Reply: when it is stale, microseconds; "SUPERSEDED" if the agent has another token or is unknown
local agent_key, heartbeat_key = KEYS[1], KEYS[2]
local agent_id, token, ttl = ARGV[1], ARGV[2], ARGV[3]

return once(function()
  redis.call('ZCARD', heartbeat_key) -- a key of another type fails here, before anything is written
  if token == '' or redis.call('HGET', agent_key, 'session_token') ~= token then
    return 'SUPERSEDED'
  end
  local stale_at = as_digits(server_time() + tonumber(ttl))
  redis.call('ZADD', heartbeat_key, stale_at, agent_id)
  return stale_at
end)
