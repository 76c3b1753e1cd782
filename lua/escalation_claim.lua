-- Takes the oldest request that waits and that no reviewer has.
--
-- Uses: once, clock, requests
-- KEYS[1] -> {<namespace>:0}:requests_pending  sorted set, dfid by time of the request
-- KEYS[2] -> {<namespace>:0}:requests_unclaimed  sorted set, those without a reviewer
-- KEYS[3] -> {<namespace>:0}:requests_claimed  sorted set, the others by the end of the lease
-- KEYS[4] -> {<namespace>:0}:requests_deadlines  sorted set, dfid by deadline
-- KEYS[5] -> {<namespace>:0}:requests_reviewers  hash, reviewer by dfid
-- KEYS[6] -> {<namespace>:0}:requests_terms  hash, deadline and default decision by dfid
-- KEYS[7] -> {<namespace>:0}:requests_open  hash, request as JSON by dfid
-- KEYS[8] -> {<namespace>:0}:op:<session>  string
-- ARGV[1] = reviewer
-- ARGV[2] = lease, microseconds
-- ARGV[3] = the operation's number in its session
-- ARGV[4] = how long the session is kept, milliseconds
-- Reply: "CLAIMED <until> <requested> <d> <t> <dfid><terms><request>": moments in microseconds, the
-- bytes of the dfid and of the terms (0 without a deadline), and then these, one after the other. Of
-- a spoilt request what is not there is "": it is taken all the same, so that it keeps no others back.
-- "HELD <until> <dfid>" to a repeated request: read it, if it still is the reviewer's until then;
-- "NONE" if no request waits; "MORE" if many leases or deadlines are over, and some were seen to
local pending_key, unclaimed_key, claimed_key = KEYS[1], KEYS[2], KEYS[3]
local reviewers_key, terms_key, open_key = KEYS[5], KEYS[6], KEYS[7]
local queue = { pending_key, unclaimed_key, claimed_key, KEYS[4], reviewers_key, terms_key }
local reviewer, lease = ARGV[1], tonumber(ARGV[2])

-- Puts requests whose reviewer's lease is over back in their place; says whether there may be more.
local function come_free(now)
  local over =
    redis.call('ZRANGEBYSCORE', claimed_key, '-inf', as_digits(now), 'LIMIT', 0, SWEPT_AT_ONCE)
  for _, dfid in ipairs(over) do
    local requested = redis.call('ZSCORE', pending_key, dfid)
    redis.call('ZREM', claimed_key, dfid)
    redis.call('HDEL', reviewers_key, dfid)
    if requested then
      redis.call('ZADD', unclaimed_key, requested, dfid)
    end
  end
  return #over == SWEPT_AT_ONCE
end

return once(function()
  check_queue(queue)
  redis.call('HLEN', open_key) -- a key of another type fails here, before anything is written
  local now = server_time()
  local more = sweep_overdue(queue, now)
  if come_free(now) or more then
    return 'MORE'
  end
  local oldest = redis.call('ZRANGE', unclaimed_key, 0, 0)
  local dfid = oldest[1]
  if not dfid then
    return 'NONE'
  end
  local request = redis.call('HGET', open_key, dfid) or ''
  local requested = redis.call('ZSCORE', pending_key, dfid)
  local terms = redis.call('HGET', terms_key, dfid) or ''
  local ends = as_digits(now + lease)
  redis.call('ZREM', unclaimed_key, dfid)
  redis.call('ZADD', claimed_key, ends, dfid)
  redis.call('HSET', reviewers_key, dfid, reviewer)
  local asked = requested and as_digits(tonumber(requested)) or ''
  local head = string.format('CLAIMED %s %s %d %d ', ends, asked, #dfid, #terms)
  return head .. dfid .. terms .. request, 'HELD ' .. ends .. ' ' .. dfid
end)
