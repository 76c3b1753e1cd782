-- Takes a dirty flow that nobody compensates: the one of a partition that has been waiting longest,
-- or a certain one.
--
-- Uses: once, claims, marks
-- KEYS[1] -> {<namespace>:<partition>}:sagas_due  sorted set, dfid by since when it waits
-- KEYS[2] -> {<namespace>:<partition>}:sagas_claimed  sorted set, dfid by the end of its lease
-- KEYS[3] -> {<namespace>:<partition>}:sagas_marks  hash, mark as JSON by dfid
-- KEYS[4] -> {<namespace>:<partition>}:sagas_claims  hash, claim by dfid
-- KEYS[5] -> {<namespace>:<partition>}:sagas_counter  string, the latest epoch
-- KEYS[6] -> {<namespace>:<partition>}:op:<session>  string
-- ARGV[1] = owner
-- ARGV[2] = lease, microseconds
-- ARGV[3] = dfid, or "" for the one that has been waiting longest
-- ARGV[4] = the operation's number in its session
-- ARGV[5] = how long the session is kept, milliseconds
-- Reply: "CLAIMED <epoch> <until> <bytes of the dfid> <dfid><mark>", until in microseconds; without a
-- mark, the flow was marked under schema 1; "HELD <epoch> <until> <dfid>" to a repeated request: read
-- its mark, if that claim still stands; "NONE" if no flow waits, or not that one; "MORE" if many
-- leases are over, and some were seen to: call again
local due_key, claimed_key, marks_key = KEYS[1], KEYS[2], KEYS[3]
local claims_key, counter_key = KEYS[4], KEYS[5]
local owner, lease, wanted = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local FREED_AT_ONCE = 100

-- Lets flows whose lease is over wait from then on; says whether there may be more.
local function come_free(now)
  local over = redis.call(
    'ZRANGEBYSCORE', claimed_key, '-inf', in_digits(now), 'WITHSCORES', 'LIMIT', 0, FREED_AT_ONCE
  )
  for i = 1, #over, 2 do
    redis.call('ZADD', due_key, over[i + 1], over[i])
    redis.call('ZREM', claimed_key, over[i])
  end
  return #over == 2 * FREED_AT_ONCE
end

-- Whether a flow waits; one whose lease is over does, though it has not been seen to yet.
local function waits(dfid, now)
  local ends = redis.call('ZSCORE', claimed_key, dfid)
  return redis.call('ZSCORE', due_key, dfid) or (ends and tonumber(ends) <= now)
end

return once(function()
  redis.call('ZCARD', due_key) -- a key of another type fails here, before anything is written
  redis.call('HLEN', marks_key)
  redis.call('HLEN', claims_key)
  local now = claim_time()
  local epoch = next_token(redis.call('GET', counter_key), now, 5)
  local dfid = wanted
  if wanted == '' then
    if come_free(now) then
      return 'MORE'
    end
    dfid = redis.call('ZRANGE', due_key, 0, 0)[1]
  elseif not waits(wanted, now) then
    dfid = nil
  end
  if not dfid then
    return 'NONE'
  end
  -- A spoilt claim is replaced, for it would keep all others back; the counter is above its epoch.
  local readable, last = pcall(read_claim, claims_key, dfid, 4)
  last = readable and last
  epoch = in_digits(math.max(tonumber(epoch), tonumber(next_token(last, now, 4))))
  local ends = in_digits(now + lease)
  local mark = redis.call('HGET', marks_key, dfid) or ''
  redis.call('SET', counter_key, epoch)
  redis.call('ZREM', due_key, dfid)
  redis.call('ZADD', claimed_key, ends, dfid)
  redis.call('HSET', claims_key, dfid, epoch .. ' ' .. ends .. ' ' .. owner)
  local claimed = string.format('CLAIMED %s %s %d ', epoch, ends, #dfid) .. dfid .. mark
  return claimed, 'HELD ' .. epoch .. ' ' .. ends .. ' ' .. dfid
end)
