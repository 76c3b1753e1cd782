-- Lets a claim's lease run anew from now.
--
-- Uses: once, claims
-- KEYS[1] -> {<namespace>:<partition>}:claim:<key>  hash
-- KEYS[2] -> {<namespace>:<partition>}:op:<session>  string
-- ARGV[1] = token
-- ARGV[2] = lease, microseconds
-- ARGV[3] = how long the claim is kept from now, milliseconds
-- ARGV[4] = the operation's number in its session
-- ARGV[5] = how long the session is kept, milliseconds
-- Reply: "RENEWED <until>" in microseconds; "LOST", it ran out, has ended, or another has the key
local claim_key = KEYS[1]
local token, lease, kept_ms = ARGV[1], tonumber(ARGV[2]), ARGV[3]

return once(function()
  local last, owner, ends = unpack(redis.call('HMGET', claim_key, 'token', 'owner', 'until'))
  if owner and not string.find(ends or '', '^%d+$') then
    error('DIRCORRUPT 1')
  end
  local now = claim_time()
  if last ~= token or not owner or tonumber(ends) <= now then
    return 'LOST'
  end
  ends = in_digits(now + lease)
  redis.call('HSET', claim_key, 'until', ends)
  redis.call('PEXPIRE', claim_key, kept_ms)
  return 'RENEWED ' .. ends
end)
