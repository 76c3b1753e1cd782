-- Inserts an agent or replaces its record; a suspension reason and its place in order survive.
--
-- Another session token than the stored one begins another session, without a heartbeat yet.
--
-- Uses: once, stamp, agents, version
-- KEYS[1] -> {<namespace>:<partition>}:agent:<agent_id>  hash
-- KEYS[2] -> {<namespace>:<partition>}:agents  sorted set, agent_id by first registration
-- KEYS[3] -> {<namespace>:<partition>}:agents_active  sorted set, the ACTIVE ones of them
-- KEYS[4] -> {<namespace>:<partition>}:agents_heartbeat  sorted set, agent_id by when it is stale
-- KEYS[5] -> {<namespace>:<partition>}:op:<session>  string
-- ARGV[1] = agent_id
-- ARGV[2] = status
-- ARGV[3..] = field, value, ... of the record, without those that are None
-- ARGV[last-1] = the operation's number in its session
-- ARGV[last] = how long the session is kept, milliseconds
-- Reply: "OK"
local agent_key, agents_key, active_key, heartbeat_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local agent_id, status = ARGV[1], ARGV[2]

return once(function()
  local registered = first_registration(agent_key, agents_key, active_key, agent_id)
  local step = version_step(stored_version(agent_key), registered)
  local token = redis.call('HGET', agent_key, 'session_token')
  redis.call('ZCARD', heartbeat_key) -- a key of another type fails here too

  registered = place_in_order(agents_key, agent_id, registered)
  redis.call('HINCRBY', agent_key, 'version', step)
  redis.call('HDEL', agent_key, 'agent_version', 'session_token')
  redis.call('HSET', agent_key, 'status', status, unpack(ARGV, 3, #ARGV - 2))
  if redis.call('HGET', agent_key, 'session_token') ~= token then
    redis.call('ZREM', heartbeat_key, agent_id)
  end
  list_by_status(active_key, agent_id, registered, status)
  return 'OK'
end)
