-- Inserts an agent or replaces its record; a suspension reason and its place in order survive.
--
-- Uses: once, stamp
-- KEYS[1] -> {<namespace>:<partition>}:agent:<agent_id>  hash
-- KEYS[2] -> {<namespace>:<partition>}:agents  sorted set, agent_id by first registration
-- KEYS[3] -> {<namespace>:<partition>}:agents_active  sorted set, the ACTIVE ones of them
-- KEYS[4] -> {<namespace>:<partition>}:op:<session>  string
-- ARGV[1] = agent_id
-- ARGV[2] = status
-- ARGV[3..] = field, value, ... of the record, without those that are None
-- ARGV[last-1] = the operation's number in its session
-- ARGV[last] = how long the session is kept, milliseconds
-- Reply: "OK"
local agent_key, agents_key, active_key = KEYS[1], KEYS[2], KEYS[3]
local agent_id, status = ARGV[1], ARGV[2]

return once(function()
  -- A key of another type fails here, before anything is written.
  redis.call('HLEN', agent_key)
  redis.call('ZCARD', active_key)
  local registered = redis.call('ZSCORE', agents_key, agent_id)
  if not registered then
    registered = next_stamp(agents_key)
    redis.call('ZADD', agents_key, registered, agent_id)
  end
  redis.call('HDEL', agent_key, 'agent_version', 'session_token')
  redis.call('HSET', agent_key, 'status', status, unpack(ARGV, 3, #ARGV - 2))
  if status == 'ACTIVE' then
    redis.call('ZADD', active_key, registered, agent_id)
  else
    redis.call('ZREM', active_key, agent_id)
  end
  return 'OK'
end)
