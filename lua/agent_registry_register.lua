-- Registers an agent and begins its session; a status other than ACTIVE is kept if asked for.
--
-- Uses: once, stamp, clock, agents, version
-- KEYS[1] -> {<namespace>:<partition>}:agent:<agent_id>  hash
-- KEYS[2] -> {<namespace>:<partition>}:agents  sorted set, agent_id by first registration
-- KEYS[3] -> {<namespace>:<partition>}:agents_active  sorted set, the ACTIVE ones of them
-- KEYS[4] -> {<namespace>:<partition>}:agents_heartbeat  sorted set, agent_id by when it is stale
-- KEYS[5] -> {<namespace>:<partition>}:op:<session>  string
-- ARGV[1] = agent_id
-- ARGV[2] = what makes a status other than ACTIVE stay with its reason; empty to make it ACTIVE
-- ARGV[3] = after how long without a heartbeat it is stale, microseconds; empty for never
-- ARGV[4..] = field, value, ... of the record, without those that are None
-- ARGV[last-1] = the operation's number in its session
-- ARGV[last] = how long the session is kept, milliseconds
-- Reply: "ACTIVE"; or the status that was kept, as "KEPT <its length in bytes> <status>" followed by
-- "=<suspension reason>" if it has one
local agent_key, agents_key, active_key, heartbeat_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local agent_id, keep, ttl = ARGV[1], ARGV[2], ARGV[3]

return once(function()
  local registered = first_registration(agent_key, agents_key, active_key, agent_id)
  local step = version_step(stored_version(agent_key), registered)
  local stored = redis.call('HMGET', agent_key, 'status', 'suspension_reason')
  local status, reason = stored[1], stored[2]
  if registered and not status then
    error('DIRCORRUPT 1')
  end
  redis.call('ZCARD', heartbeat_key) -- a key of another type fails here too
  local is_kept = keep ~= '' and status and status ~= 'ACTIVE'

  registered = place_in_order(agents_key, agent_id, registered)
  redis.call('HINCRBY', agent_key, 'version', step)
  redis.call('HDEL', agent_key, 'agent_version')
  redis.call('HSET', agent_key, unpack(ARGV, 4, #ARGV - 2))
  if ttl == '' then
    redis.call('ZREM', heartbeat_key, agent_id)
  else
    redis.call('ZADD', heartbeat_key, as_digits(server_time() + tonumber(ttl)), agent_id)
  end
  if is_kept then
    return 'KEPT ' .. #status .. ' ' .. status .. (reason and '=' .. reason or '')
  end
  redis.call('HSET', agent_key, 'status', 'ACTIVE')
  redis.call('HDEL', agent_key, 'suspension_reason')
  list_by_status(active_key, agent_id, registered, 'ACTIVE')
  return 'ACTIVE'
end)
