-- Ends a claim without a result; the same once more changes nothing.
--
-- Uses: once
-- KEYS[1] -> {<namespace>:<partition>}:claim:<key>  hash
-- KEYS[2] -> {<namespace>:<partition>}:claim_ended:<key>  stream, wakes who waits for the end
-- KEYS[3] -> {<namespace>:<partition>}:op:<session>  string
-- ARGV[1] = token
-- ARGV[2] = how long the ended claim is kept, milliseconds
-- ARGV[3] = how long the wake-up is kept, milliseconds
-- ARGV[4] = the operation's number in its session
-- ARGV[5] = how long the session is kept, milliseconds
-- Reply: "FREE"; "LOST", it has ended with a result, or another has or had the key
local claim_key, ended_key = KEYS[1], KEYS[2]
local token, kept_ms, woken_ms = ARGV[1], ARGV[2], ARGV[3]

return once(function()
  redis.call('XLEN', ended_key) -- a key of another type fails here, before anything is written
  local last, state, owner = unpack(redis.call('HMGET', claim_key, 'token', 'state', 'owner'))
  if last ~= token or state == 'DONE' then
    return 'LOST'
  end
  if owner then
    redis.call('HDEL', claim_key, 'owner', 'until')
    redis.call('PEXPIRE', claim_key, kept_ms)
    redis.call('XADD', ended_key, '*', 'token', token)
    redis.call('PEXPIRE', ended_key, woken_ms)
  end
  return 'FREE'
end)
