-- Spends one of an agent's budget tokens and puts its request before the humans, or does neither.
--
-- Uses: once, stamp, clock, requests
-- KEYS[1] -> {<namespace>:0}:requests_pending  sorted set, dfid by time of the request
-- KEYS[2] -> {<namespace>:0}:requests_unclaimed  sorted set, those without a reviewer
-- KEYS[3] -> {<namespace>:0}:requests_claimed  sorted set, the others by the end of the lease
-- KEYS[4] -> {<namespace>:0}:requests_deadlines  sorted set, dfid by deadline
-- KEYS[5] -> {<namespace>:0}:requests_reviewers  hash, reviewer by dfid
-- KEYS[6] -> {<namespace>:0}:requests_terms  hash, deadline and default decision by dfid
-- KEYS[7] -> {<namespace>:0}:requests_open  hash, request as JSON by dfid
-- KEYS[8] -> {<namespace>:0}:request:<dfid>  hash, the decided request
-- KEYS[9] -> {<namespace>:0}:decided:<dfid>  stream, wakes who waits for the decision
-- KEYS[10] -> {<namespace>:0}:budget:<agent_id>  sorted set, token by microseconds
-- KEYS[11] -> {<namespace>:0}:op:<session>  string
-- ARGV[1] = dfid
-- ARGV[2] = request, JSON
-- ARGV[3] = token, a random name
-- ARGV[4] = limit, tokens per window
-- ARGV[5] = window, microseconds
-- ARGV[6] = for how long tokens are remembered, microseconds
-- ARGV[7] = deadline, microseconds from now, or "" for none
-- ARGV[8] = default decision; counts with a deadline
-- ARGV[9] = 1 if another request of the flow is replaced, 0 if the flow escalates once
-- ARGV[10] = the operation's number in its session
-- ARGV[11] = how long the session is kept, milliseconds
-- Reply: "<outcome> <n> <wait>": "GRANTED", or with the request and the budget unchanged
-- "REPEATED" or "BUDGET_EXHAUSTED"; the tokens now in the window, and the microseconds until the
-- agent has one again, 0 if it has
local pending_key, unclaimed_key, deadlines_key = KEYS[1], KEYS[2], KEYS[4]
local queue = { pending_key, unclaimed_key, KEYS[3], deadlines_key, KEYS[5], KEYS[6] }
local terms_key, open_key, resolved_key, decided_key = KEYS[6], KEYS[7], KEYS[8], KEYS[9]
local budget_key = KEYS[10]
local dfid, request, token = ARGV[1], ARGV[2], ARGV[3]
local limit, window, remembered = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local deadline, default_decision, replace = tonumber(ARGV[7]), ARGV[8], ARGV[9] == '1'
local FORGOTTEN_AT_ONCE = 100

-- The limit-th newest token is the one that has to leave the window.
local function until_a_token(spent, now)
  if spent < limit then
    return '0'
  end
  if limit == 0 then
    return as_digits(window)
  end
  local newest = redis.call('ZREVRANGE', budget_key, limit - 1, limit - 1, 'WITHSCORES')
  return as_digits(tonumber(newest[2]) + window - now)
end

-- Whether a request that lies among the open ones still waits: its deadline has not passed.
local function waits(now)
  local queued = redis.call('ZSCORE', pending_key, dfid)
  local terms = redis.call('HGET', terms_key, dfid)
  if terms then
    local _, moment = split_terms(terms, 6)
    return queued and tonumber(moment) > now
  elseif not queued then
    error('DIRCORRUPT 1')
  end
  return true
end

return once(function()
  check_queue(queue)
  local open = redis.call('HGET', open_key, dfid)
  local resolved = redis.call('HLEN', resolved_key)
  redis.call('XLEN', decided_key) -- a key of another type fails here, before anything is written
  local now = server_time()
  local repeated = open or resolved > 0
  if replace then
    repeated = open == request and waits(now)
  end
  local spent = redis.call('ZCOUNT', budget_key, '(' .. as_digits(now - window), '+inf')
  sweep_overdue(queue, now)
  local outcome = 'GRANTED'
  if repeated then
    outcome = 'REPEATED'
  elseif spent >= limit then
    outcome = 'BUDGET_EXHAUSTED'
  else
    local oldest_kept = as_digits(now - remembered)
    local forgotten =
      redis.call('ZRANGEBYSCORE', budget_key, '-inf', oldest_kept, 'LIMIT', 0, FORGOTTEN_AT_ONCE)
    if #forgotten > 0 then
      redis.call('ZREM', budget_key, unpack(forgotten))
    end
    redis.call('ZADD', budget_key, as_digits(now), token)
    spent = spent + 1
    if replace then
      leave_queue(queue, { dfid })
      redis.call('HDEL', terms_key, dfid)
      redis.call('DEL', resolved_key)
    end
    local stamp = next_stamp(pending_key)
    redis.call('ZADD', pending_key, stamp, dfid)
    redis.call('ZADD', unclaimed_key, stamp, dfid)
    redis.call('HSET', open_key, dfid, request)
    if deadline then
      local moment = as_digits(now + deadline)
      redis.call('ZADD', deadlines_key, moment, dfid)
      redis.call('HSET', terms_key, dfid, stamp .. ' ' .. moment .. ' ' .. default_decision)
    end
    redis.call('DEL', decided_key)
  end
  return string.format('%s %d %s', outcome, spent, until_a_token(spent, now))
end)
