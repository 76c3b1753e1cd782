-- Marks a flow dirty; a mark that replaces another counts as new.
--
-- Uses: once, stamp
-- KEYS[1] -> {<namespace>:<partition>}:saga:<dfid>  hash
-- KEYS[2] -> {<namespace>:<partition>}:sagas_dirty  sorted set, dfid by time of the mark
-- KEYS[3] -> {<namespace>:<partition>}:op:<session>  string
-- ARGV[1] = dfid
-- ARGV[2] = failed step
-- ARGV[3] = partial state, JSON
-- ARGV[4] = the operation's number in its session
-- ARGV[5] = how long the session is kept, milliseconds
-- Reply: "OK"
local saga_key, dirty_key = KEYS[1], KEYS[2]
local dfid, failed_step, partial_state = ARGV[1], ARGV[2], ARGV[3]

return once(function()
  redis.call('HLEN', saga_key) -- a key of another type fails here, before anything is written
  redis.call('ZADD', dirty_key, next_stamp(dirty_key), dfid)
  redis.call('HSET', saga_key, 'failed_step', failed_step, 'partial_state', partial_state)
  return 'OK'
end)
