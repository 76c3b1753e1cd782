-- Moves a pending request to the decided ones, with the human's decision; the first one stands.
--
-- A request whose deadline has passed is decided by that, whatever the human says now. It is
-- moved, so that also a clock that goes back finds it decided.
--
-- Uses: once, clock, requests
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
-- ARGV[2] = how long the entry that wakes is kept, milliseconds
-- ARGV[3..] = field, value, ... of the decision; with none only the deadline decides
-- ARGV[last-1] = the operation's number in its session
-- ARGV[last] = how long the session is kept, milliseconds
-- Reply: "RESOLVED"; "OVERDUE" (the deadline decided now); with nothing changed "PENDING" (there is
-- no decision yet) or "NOT_PENDING"
local pending_key, terms_key, open_key = KEYS[1], KEYS[6], KEYS[7]
local queue = { pending_key, KEYS[2], KEYS[3], KEYS[4], KEYS[5], terms_key }
local resolved_key, decided_key = KEYS[8], KEYS[9]
local dfid, woken_ms = ARGV[1], ARGV[2]

return once(function()
  local request = redis.call('HGET', open_key, dfid)
  if not request then
    return 'NOT_PENDING'
  end
  check_queue(queue)
  redis.call('HLEN', resolved_key) -- a key of another type fails here, before anything is written
  redis.call('XLEN', decided_key)
  local now = server_time()
  local queued = redis.call('ZSCORE', pending_key, dfid)
  local terms = redis.call('HGET', terms_key, dfid)
  local fields = { 'request', request, 'status', 'RESOLVED', 'requested_us' }
  local overdue = false
  if terms then
    local requested, deadline, default_decision = split_terms(terms, 6)
    overdue = not queued or tonumber(deadline) <= now
    fields[6], fields[7], fields[8] = requested, 'deadline_us', deadline
    fields[9], fields[10] = 'default_decision', default_decision
    if overdue then
      fields[11], fields[12], fields[13], fields[14] = 'resolved_us', deadline, 'by_default', '1'
      fields[15], fields[16] = 'decision', default_decision
    end
  elseif queued then
    fields[6] = as_digits(tonumber(queued))
  else
    error('DIRCORRUPT 1')
  end
  if not overdue then
    if #ARGV == 4 then
      return 'PENDING'
    end
    fields[#fields + 1] = 'resolved_us'
    fields[#fields + 1] = as_digits(now)
    for i = 3, #ARGV - 2 do
      fields[#fields + 1] = ARGV[i]
    end
  end

  leave_queue(queue, { dfid })
  redis.call('HDEL', terms_key, dfid)
  redis.call('HDEL', open_key, dfid)
  redis.call('HSET', resolved_key, unpack(fields))
  if overdue then
    return 'OVERDUE' -- nobody is woken: who waits does so no longer than until the deadline
  end
  redis.call('XADD', decided_key, '*', 'dfid', dfid)
  redis.call('PEXPIRE', decided_key, woken_ms)
  return 'RESOLVED'
end)
