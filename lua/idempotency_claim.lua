-- Claims a step, or says who has it or what came of it.
--
-- Uses: once, claims
-- KEYS[1] -> {<namespace>:<partition>}:idempotency:<key>  string, the result
-- KEYS[2] -> {<namespace>:<partition>}:claim:<key>  hash
-- KEYS[3] -> {<namespace>:<partition>}:claim_ended:<key>  stream, wakes who waits for the end
-- KEYS[4] -> {<namespace>:<partition>}:op:<session>  string
-- ARGV[1] = owner
-- ARGV[2] = lease, microseconds
-- ARGV[3] = how long a claim is kept from now, milliseconds
-- ARGV[4] = whether there is a fingerprint: "1" or "0"
-- ARGV[5] = fingerprint
-- ARGV[6] = the operation's number in its session
-- ARGV[7] = how long the session is kept, milliseconds
-- Reply: "NEW <token> <until>", the claim is the caller's, until in microseconds; "IN_PROGRESS <token>
-- <until> <owner>"; "DONE <result>"; "AGAIN" to a repeated request that found it done: claim anew;
-- "MISMATCH", the fingerprint is another, and nothing was done
local result_key, claim_key, ended_key = KEYS[1], KEYS[2], KEYS[3]
local owner, lease, kept_ms = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local fingerprint = ARGV[4] == '1' and ARGV[5]

return once(function()
  local result = redis.call('GET', result_key)
  redis.call('XLEN', ended_key) -- a key of another type fails here, before anything is written
  local claim =
    redis.call('HMGET', claim_key, 'token', 'state', 'owner', 'until', 'fingerprint')
  local last, state, holder, ends, first = unpack(claim)
  if holder and not (last and string.find(ends or '', '^%d+$')) then
    error('DIRCORRUPT 2')
  end
  local now = claim_time()
  local token = next_token(last, now, 2)
  if state == 'DONE' and not result then
    first = false -- it went with the result
    redis.call('HDEL', claim_key, 'fingerprint')
  end
  if fingerprint and first and fingerprint ~= first then
    return 'MISMATCH'
  end
  if fingerprint and not first then
    redis.call('HSET', claim_key, 'fingerprint', fingerprint)
    if result and not holder then
      -- From now on the fingerprint is kept as long as the result, and the token a day at least.
      redis.call('HSET', claim_key, 'state', 'DONE')
      local left = redis.call('PTTL', result_key)
      if left == -1 then
        redis.call('PERSIST', claim_key)
      else
        redis.call('PEXPIRE', claim_key, math.max(left, tonumber(kept_ms)))
      end
    end
  end
  if result then
    return 'DONE ' .. result, 'AGAIN' -- which is shorter to keep
  end
  if holder and tonumber(ends) > now then
    return 'IN_PROGRESS ' .. last .. ' ' .. ends .. ' ' .. holder
  end
  ends = in_digits(now + lease)
  redis.call('HDEL', claim_key, 'state')
  redis.call('HSET', claim_key, 'token', token, 'owner', owner, 'until', ends)
  redis.call('PEXPIRE', claim_key, kept_ms)
  redis.call('DEL', ended_key)
  return 'NEW ' .. token .. ' ' .. ends
end)
