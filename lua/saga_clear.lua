-- Removes a flow's dirty mark, if need be only that of a claim.
--
-- Uses: once, marks
-- KEYS[1] -> {<namespace>:<partition>}:sagas_dirty  sorted set, dfid by time of the mark
-- KEYS[2] -> {<namespace>:<partition>}:sagas_due  sorted set, dfid by since when it waits
-- KEYS[3] -> {<namespace>:<partition>}:sagas_claimed  sorted set, dfid by the end of its lease
-- KEYS[4] -> {<namespace>:<partition>}:sagas_marks  hash, mark as JSON by dfid
-- KEYS[5] -> {<namespace>:<partition>}:sagas_claims  hash, claim by dfid
-- KEYS[6] -> {<namespace>:<partition>}:saga:<dfid>  hash, the mark as schema 1 has it
-- KEYS[7] -> {<namespace>:<partition>}:op:<session>  string
-- ARGV[1] = dfid
-- ARGV[2] = epoch of the claim; "" removes any mark, claimed or not
-- ARGV[3] = the operation's number in its session
-- ARGV[4] = how long the session is kept, milliseconds
-- Reply: "OK"; "LOST", another claim or a newer mark has taken the claim's place
local dirty_key, due_key, claimed_key = KEYS[1], KEYS[2], KEYS[3]
local marks_key, claims_key, old_key = KEYS[4], KEYS[5], KEYS[6]
local dfid, epoch = ARGV[1], ARGV[2]

return once(function()
  -- A key of another type fails here, before anything is written.
  redis.call('ZCARD', dirty_key)
  redis.call('ZCARD', due_key)
  redis.call('ZCARD', claimed_key)
  redis.call('HLEN', marks_key)
  redis.call('HLEN', old_key)
  local last, ends = read_claim(claims_key, dfid, 5)
  if epoch ~= '' and (last ~= epoch or ends == '0') then
    return 'LOST'
  end
  redis.call('ZREM', dirty_key, dfid)
  redis.call('ZREM', due_key, dfid)
  redis.call('ZREM', claimed_key, dfid)
  redis.call('HDEL', marks_key, dfid)
  redis.call('HDEL', claims_key, dfid)
  redis.call('DEL', old_key)
  return 'OK'
end)
