-- Returns the agents whose latest heartbeat is over.
--
-- Uses: clock
-- KEYS[1] -> {<namespace>:<partition>}:agents_heartbeat  sorted set, agent_id by when it is stale
-- Reply: list of agent_id, when it became stale (microseconds), ..., the longest over first
local heartbeat_key = KEYS[1]
local now = as_digits(server_time())

return redis.call('ZRANGEBYSCORE', heartbeat_key, '-inf', now, 'WITHSCORES')
