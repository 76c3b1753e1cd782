-- Sets a registered agent's status and suspension reason together.
--
-- Uses: once, agents
-- KEYS[1] -> {<namespace>:<partition>}:agent:<agent_id>  hash
-- KEYS[2] -> {<namespace>:<partition>}:agents  sorted set, agent_id by first registration
-- KEYS[3] -> {<namespace>:<partition>}:agents_active  sorted set, the ACTIVE ones of them
-- KEYS[4] -> {<namespace>:<partition>}:op:<session>  string
-- ARGV[1] = agent_id
-- ARGV[2] = status
-- ARGV[3] = suspension reason; left out to remove a stored one
-- ARGV[last-1] = the operation's number in its session
-- ARGV[last] = how long the session is kept, milliseconds
-- Reply: "UPDATED", or "UNKNOWN" if the agent was never registered
local agent_key, agents_key, active_key = KEYS[1], KEYS[2], KEYS[3]
local agent_id, status = ARGV[1], ARGV[2]
local reason = #ARGV == 5 and ARGV[3]

return once(function()
  local registered = first_registration(agent_key, agents_key, active_key, agent_id)
  if not registered then
    return 'UNKNOWN'
  end
  redis.call('HSET', agent_key, 'status', status)
  if reason then
    redis.call('HSET', agent_key, 'suspension_reason', reason)
  else
    redis.call('HDEL', agent_key, 'suspension_reason')
  end
  list_by_status(active_key, agent_id, registered, status)
  return 'UPDATED'
end)
