-- An agent's record and its places: in order of registration, among the active, by heartbeat.

-- When the agent was first registered, a score; false if never. Fails on keys of another type, before
-- anything is written.
local function first_registration(agent_key, agents_key, active_key, agent_id)
  redis.call('HLEN', agent_key)
  redis.call('ZCARD', active_key)
  return redis.call('ZSCORE', agents_key, agent_id)
end

-- Puts a new agent last; returns when it was first registered.
local function place_in_order(agents_key, agent_id, registered)
  if not registered then
    registered = next_stamp(agents_key)
    redis.call('ZADD', agents_key, registered, agent_id)
  end
  return registered
end

-- Lists the agent among the active, in order of registration, or takes it off the list.
local function list_by_status(active_key, agent_id, registered, status)
  if status == 'ACTIVE' then
    redis.call('ZADD', active_key, registered, agent_id)
  else
    redis.call('ZREM', active_key, agent_id)
  end
end

-- By how much a registration or a change raises the version: the record of an agent that was
-- registered before versions were counted has version 1.
local function version_step(version, registered)
  if registered and not version then
    return 2
  end
  return 1
end
