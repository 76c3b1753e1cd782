-- Moves a pending request to the resolved ones, with the human's decision; the first one stands.
--
-- Uses: once
-- KEYS[1] -> {<namespace>:<partition>}:requests_pending  sorted set, dfid by time of the request
-- KEYS[2] -> {<namespace>:<partition>}:requests_open  hash, request as JSON by dfid
-- KEYS[3] -> {<namespace>:<partition>}:request:<dfid>  hash, the resolved request
-- KEYS[4] -> {<namespace>:<partition>}:op:<session>  string
-- ARGV[1] = dfid
-- ARGV[2..] = field, value, ... of the decision
-- ARGV[last-1] = the operation's number in its session
-- ARGV[last] = how long the session is kept, milliseconds
-- Reply: "RESOLVED", or "NOT_PENDING" with nothing changed
local pending_key, open_key, resolved_key = KEYS[1], KEYS[2], KEYS[3]
local dfid = ARGV[1]

return once(function()
  local request = redis.call('HGET', open_key, dfid)
  if not request then
    return 'NOT_PENDING'
  end
  local requested = redis.call('ZSCORE', pending_key, dfid)
  if not requested then
    error('DIRCORRUPT 1')
  end
  redis.call('HLEN', resolved_key) -- a key of another type fails here, before anything is written
  local time = redis.call('TIME')
  local moment = tonumber(time[1]) * 1000000 + tonumber(time[2])
  redis.call('ZREM', pending_key, dfid)
  redis.call('HDEL', open_key, dfid)
  redis.call(
    'HSET', resolved_key, 'request', request,
    'requested_us', string.format('%.0f', tonumber(requested)),
    'resolved_us', string.format('%.0f', moment),
    unpack(ARGV, 2, #ARGV - 2)
  )
  return 'RESOLVED'
end)
