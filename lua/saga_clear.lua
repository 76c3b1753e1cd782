-- Removes a flow's dirty mark.
--
-- Uses: once
-- KEYS[1] -> {<namespace>:<partition>}:saga:<dfid>  hash
-- KEYS[2] -> {<namespace>:<partition>}:sagas_dirty  sorted set, dfid by time of the mark
-- KEYS[3] -> {<namespace>:<partition>}:op:<session>  string
-- ARGV[1] = dfid
-- ARGV[2] = the operation's number in its session
-- ARGV[3] = how long the session is kept, milliseconds
-- Reply: "OK"
local saga_key, dirty_key = KEYS[1], KEYS[2]
local dfid = ARGV[1]

return once(function()
  redis.call('ZREM', dirty_key, dfid)
  redis.call('DEL', saga_key)
  return 'OK'
end)
