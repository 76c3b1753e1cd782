-- Puts a request before the humans; replaces an earlier one of the flow, also a decided one.
--
-- Uses: once, stamp, requests
-- KEYS[1] -> {<namespace>:0}:requests_pending  sorted set, dfid by time of the request
-- KEYS[2] -> {<namespace>:0}:requests_unclaimed  sorted set, those without a reviewer
-- KEYS[3] -> {<namespace>:0}:requests_claimed  sorted set, the others by the end of the lease
-- KEYS[4] -> {<namespace>:0}:requests_deadlines  sorted set, dfid by deadline
-- KEYS[5] -> {<namespace>:0}:requests_reviewers  hash, reviewer by dfid
-- KEYS[6] -> {<namespace>:0}:requests_terms  hash, deadline and default decision by dfid
-- KEYS[7] -> {<namespace>:0}:requests_open  hash, request as JSON by dfid
-- KEYS[8] -> {<namespace>:0}:request:<dfid>  hash, the decided request
-- KEYS[9] -> {<namespace>:0}:decided:<dfid>  stream, wakes who waits for the decision
-- KEYS[10] -> {<namespace>:0}:op:<session>  string
-- ARGV[1] = dfid
-- ARGV[2] = request, JSON
-- ARGV[3] = the operation's number in its session
-- ARGV[4] = how long the session is kept, milliseconds
-- Reply: "OK"
local pending_key, unclaimed_key = KEYS[1], KEYS[2]
local queue = { pending_key, unclaimed_key, KEYS[3], KEYS[4], KEYS[5], KEYS[6] }
local terms_key, open_key, resolved_key, decided_key = KEYS[6], KEYS[7], KEYS[8], KEYS[9]
local dfid, request = ARGV[1], ARGV[2]

return once(function()
  check_queue(queue)
  redis.call('HLEN', open_key) -- a key of another type fails here, before anything is written
  leave_queue(queue, { dfid })
  redis.call('HDEL', terms_key, dfid)
  local stamp = next_stamp(pending_key)
  redis.call('ZADD', pending_key, stamp, dfid)
  redis.call('ZADD', unclaimed_key, stamp, dfid)
  redis.call('HSET', open_key, dfid, request)
  redis.call('DEL', resolved_key, decided_key)
  return 'OK'
end)
