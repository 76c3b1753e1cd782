-- Replaces a registered agent's contract as a new version.
--
-- Uses: once, clock, agents, version
-- KEYS[1] -> {<namespace>:<partition>}:agent:<agent_id>  hash
-- KEYS[2] -> {<namespace>:<partition>}:agents  sorted set, agent_id by first registration
-- KEYS[3] -> {<namespace>:<partition>}:op:<session>  string
-- ARGV[1] = agent_id
-- ARGV[2] = contract, JSON
-- ARGV[3] = the version it must have
-- ARGV[4] = the operation's number in its session
-- ARGV[5] = how long the session is kept, milliseconds
-- Reply: the new version, or "CONFLICT <version>" with the version it has, 0 for an unknown agent
local agent_key, agents_key = KEYS[1], KEYS[2]
local agent_id, contract, expected = ARGV[1], ARGV[2], ARGV[3]

return once(function()
  local registered = redis.call('ZSCORE', agents_key, agent_id)
  local version = stored_version(agent_key)
  if not registered then
    return 'CONFLICT 0'
  end
  local refused = version_conflict(version or '1', expected)
  if refused then
    return refused
  end
  local new = redis.call('HINCRBY', agent_key, 'version', version_step(version, registered))
  redis.call('HSET', agent_key, 'contract', contract)
  return as_digits(new)
end)
