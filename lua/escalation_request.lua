-- Puts a request before the humans; replaces an earlier one of the flow, also a resolved one.
--
-- Uses: once, stamp
-- KEYS[1] -> {<namespace>:<partition>}:requests_pending  sorted set, dfid by time of the request
-- KEYS[2] -> {<namespace>:<partition>}:requests_open  hash, request as JSON by dfid
-- KEYS[3] -> {<namespace>:<partition>}:request:<dfid>  hash, the resolved request
-- KEYS[4] -> {<namespace>:<partition>}:op:<session>  string
-- ARGV[1] = dfid
-- ARGV[2] = request, JSON
-- ARGV[3] = the operation's number in its session
-- ARGV[4] = how long the session is kept, milliseconds
-- Reply: "OK"
local pending_key, open_key, resolved_key = KEYS[1], KEYS[2], KEYS[3]
local dfid, request = ARGV[1], ARGV[2]

return once(function()
  redis.call('HLEN', open_key) -- a key of another type fails here, before anything is written
  redis.call('ZADD', pending_key, next_stamp(pending_key), dfid)
  redis.call('HSET', open_key, dfid, request)
  redis.call('DEL', resolved_key)
  return 'OK'
end)
