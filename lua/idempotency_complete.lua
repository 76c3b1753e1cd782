-- Stores a step's result and ends its claim; the same once more changes nothing.
--
-- Uses: once
-- KEYS[1] -> {<namespace>:<partition>}:idempotency:<key>  string, the result
-- KEYS[2] -> {<namespace>:<partition>}:claim:<key>  hash
-- KEYS[3] -> {<namespace>:<partition>}:claim_ended:<key>  stream, wakes who waits for the end
-- KEYS[4] -> {<namespace>:<partition>}:op:<session>  string
-- ARGV[1] = token
-- ARGV[2] = result, JSON
-- ARGV[3] = how long the result is kept, milliseconds; "" for ever
-- ARGV[4] = how long the claim is kept if neither the result nor a fingerprint stays longer,
-- milliseconds
-- ARGV[5] = how long the wake-up is kept, milliseconds
-- ARGV[6] = the operation's number in its session
-- ARGV[7] = how long the session is kept, milliseconds
-- Reply: "DONE"; "LOST", it has ended otherwise, or another has or had the key
local result_key, claim_key, ended_key = KEYS[1], KEYS[2], KEYS[3]
local token, result, ttl_ms, kept_ms, woken_ms = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]

return once(function()
  local stored = redis.call('GET', result_key)
  redis.call('XLEN', ended_key) -- a key of another type fails here, before anything is written
  local claim = redis.call('HMGET', claim_key, 'token', 'state', 'owner', 'fingerprint')
  local last, state, owner, fingerprint = unpack(claim)
  if last ~= token then
    return 'LOST'
  end
  if not owner then
    return state == 'DONE' and stored == result and 'DONE' or 'LOST'
  end
  redis.call('HDEL', claim_key, 'owner', 'until')
  redis.call('HSET', claim_key, 'state', 'DONE')
  if ttl_ms ~= '' then
    redis.call('SET', result_key, result, 'PX', ttl_ms)
    redis.call('PEXPIRE', claim_key, math.max(tonumber(ttl_ms), tonumber(kept_ms)))
  else
    redis.call('SET', result_key, result)
    if fingerprint then
      redis.call('PERSIST', claim_key)
    else
      redis.call('PEXPIRE', claim_key, kept_ms)
    end
  end
  redis.call('XADD', ended_key, '*', 'token', token)
  redis.call('PEXPIRE', ended_key, woken_ms)
  return 'DONE'
end)
