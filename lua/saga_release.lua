-- Gives a claim on a dirty flow back, which then waits in the place of its mark.
--
-- Uses: once, marks
-- KEYS[1] -> {<namespace>:<partition>}:sagas_dirty  sorted set, dfid by time of the mark
-- KEYS[2] -> {<namespace>:<partition>}:sagas_due  sorted set, dfid by since when it waits
-- KEYS[3] -> {<namespace>:<partition>}:sagas_claimed  sorted set, dfid by the end of its lease
-- KEYS[4] -> {<namespace>:<partition>}:sagas_claims  hash, claim by dfid
-- KEYS[5] -> {<namespace>:<partition>}:op:<session>  string
-- ARGV[1] = dfid
-- ARGV[2] = epoch
-- ARGV[3] = the operation's number in its session
-- ARGV[4] = how long the session is kept, milliseconds
-- Reply: "FREE"; "LOST", another claim or a newer mark has taken its place
local dirty_key, due_key, claimed_key, claims_key = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local dfid, epoch = ARGV[1], ARGV[2]

return once(function()
  redis.call('ZCARD', due_key) -- a key of another type fails here, before anything is written
  redis.call('ZCARD', claimed_key)
  local marked = redis.call('ZSCORE', dirty_key, dfid)
  local last, ends = read_claim(claims_key, dfid, 4)
  if last ~= epoch or ends == '0' then
    return 'LOST'
  end
  if not marked then
    error('DIRCORRUPT 1')
  end
  redis.call('ZREM', claimed_key, dfid)
  redis.call('ZADD', due_key, marked, dfid)
  end_claim(claims_key, dfid, epoch)
  return 'FREE'
end)
