-- Takes the dirty flow of a partition that has been waiting longest and that nobody compensates.
--
-- Uses: once, claims, marks
-- KEYS[1] -> {<namespace>:<partition>}:sagas_due  sorted set, dfid by when it may be claimed
-- KEYS[2] -> {<namespace>:<partition>}:sagas_marks  hash, mark as JSON by dfid
-- KEYS[3] -> {<namespace>:<partition>}:sagas_claims  hash, claim by dfid
-- KEYS[4] -> {<namespace>:<partition>}:op:<session>  string
-- ARGV[1] = owner
-- ARGV[2] = lease, microseconds
-- ARGV[3] = the operation's number in its session
-- ARGV[4] = how long the session is kept, milliseconds
-- Reply: "CLAIMED <epoch> <until> <bytes of the dfid> <dfid><mark>", until in microseconds; without a
-- mark, the flow was marked under schema 1; "NONE" if no flow waits
local due_key, marks_key, claims_key = KEYS[1], KEYS[2], KEYS[3]
local owner, lease = ARGV[1], tonumber(ARGV[2])

return once(function()
  redis.call('HLEN', marks_key) -- a key of another type fails here, before anything is written
  redis.call('HLEN', claims_key)
  local dfid, due = unpack(redis.call('ZRANGE', due_key, 0, 0, 'WITHSCORES'))
  if not dfid then
    return 'NONE'
  end
  local now = claim_time()
  local last, ends = read_claim(claims_key, dfid, 3)
  -- A mark made before the clock was set back lies in the future, but waits all the same.
  if tonumber(due) > now and last and ends ~= '0' then
    return 'NONE'
  end
  local epoch = next_token(last, now, 3)
  ends = in_digits(now + lease)
  local mark = redis.call('HGET', marks_key, dfid) or ''
  redis.call('ZADD', due_key, ends, dfid)
  redis.call('HSET', claims_key, dfid, epoch .. ' ' .. ends .. ' ' .. owner)
  return string.format('CLAIMED %s %s %d ', epoch, ends, #dfid) .. dfid .. mark
end)
