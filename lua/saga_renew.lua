-- Lets the lease of a claim on a dirty flow run anew from now.
--
-- Uses: once, claims, marks
-- KEYS[1] -> {<namespace>:<partition>}:sagas_due  sorted set, dfid by since when it waits
-- KEYS[2] -> {<namespace>:<partition>}:sagas_claimed  sorted set, dfid by the end of its lease
-- KEYS[3] -> {<namespace>:<partition>}:sagas_claims  hash, claim by dfid
-- KEYS[4] -> {<namespace>:<partition>}:op:<session>  string
-- ARGV[1] = dfid
-- ARGV[2] = epoch
-- ARGV[3] = lease, microseconds
-- ARGV[4] = the operation's number in its session
-- ARGV[5] = how long the session is kept, milliseconds
-- Reply: "RENEWED <until>" in microseconds; "LOST", it ran out, or another claim or a newer mark has
-- taken its place
local due_key, claimed_key, claims_key = KEYS[1], KEYS[2], KEYS[3]
local dfid, epoch, lease = ARGV[1], ARGV[2], tonumber(ARGV[3])

return once(function()
  redis.call('ZCARD', due_key) -- a key of another type fails here, before anything is written
  redis.call('ZCARD', claimed_key)
  local last, ends = read_claim(claims_key, dfid, 3)
  local now = claim_time()
  if last ~= epoch or tonumber(ends) <= now then
    return 'LOST'
  end
  local owner = string.match(redis.call('HGET', claims_key, dfid), '^%d+ %d+ (.*)$')
  ends = in_digits(now + lease)
  -- It waits again if its lease was over before the clock was set back.
  redis.call('ZREM', due_key, dfid)
  redis.call('ZADD', claimed_key, ends, dfid)
  redis.call('HSET', claims_key, dfid, epoch .. ' ' .. ends .. ' ' .. owner)
  return 'RENEWED ' .. ends
end)
