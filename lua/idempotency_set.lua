-- Stores a result that no claim led to; it ends a claim there may be.
--
-- Uses: once
-- KEYS[1] -> {<namespace>:<partition>}:idempotency:<key>  string, the result
-- KEYS[2] -> {<namespace>:<partition>}:claim:<key>  hash
-- KEYS[3] -> {<namespace>:<partition>}:claim_ended:<key>  stream, wakes who waits for the end
-- KEYS[4] -> {<namespace>:<partition>}:op:<session>  string
-- ARGV[1] = result, JSON
-- ARGV[2] = how long an ended claim without a fingerprint is kept, milliseconds
-- ARGV[3] = how long the wake-up is kept, milliseconds
-- ARGV[4] = the operation's number in its session
-- ARGV[5] = how long the session is kept, milliseconds
-- Reply: "OK"
local result_key, claim_key, ended_key = KEYS[1], KEYS[2], KEYS[3]
local result, kept_ms, woken_ms = ARGV[1], ARGV[2], ARGV[3]

return once(function()
  redis.call('XLEN', ended_key) -- a key of another type fails here, before anything is written
  local owner, fingerprint, token, state =
    unpack(redis.call('HMGET', claim_key, 'owner', 'fingerprint', 'token', 'state'))
  if fingerprint and state == 'DONE' and redis.call('EXISTS', result_key) == 0 then
    fingerprint = false -- it went with the result
    redis.call('HDEL', claim_key, 'fingerprint')
  end
  if token or fingerprint then
    redis.call('HDEL', claim_key, 'owner', 'until')
    redis.call('HSET', claim_key, 'state', 'DONE')
    if fingerprint then
      redis.call('PERSIST', claim_key)
    else
      redis.call('PEXPIRE', claim_key, kept_ms)
    end
  end
  redis.call('SET', result_key, result)
  if owner then
    redis.call('XADD', ended_key, '*', 'token', token)
    redis.call('PEXPIRE', ended_key, woken_ms)
  end
  return 'OK'
end)
