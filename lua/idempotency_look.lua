-- Says who has a step, or what came of it.
--
-- Uses: claims
-- KEYS[1] -> {<namespace>:<partition>}:idempotency:<key>  string, the result
-- KEYS[2] -> {<namespace>:<partition>}:claim:<key>  hash
-- Reply: {"DONE", result}; {"IN_PROGRESS", token, until, owner, left}: until in microseconds since
-- 1970, and how many are left of the lease; {"NEW"}, nobody has it
local result_key, claim_key = KEYS[1], KEYS[2]

local result = redis.call('GET', result_key)
local claim = redis.call('HMGET', claim_key, 'token', 'owner', 'until')
if result then
  return { 'DONE', result }
end
local token, owner, ends = unpack(claim)
if not owner then
  return { 'NEW' }
end
if not (token and string.find(ends or '', '^%d+$')) then
  error('DIRCORRUPT 2')
end
local left = tonumber(ends) - claim_time()
if left <= 0 then
  return { 'NEW' }
end
return { 'IN_PROGRESS', token, ends, owner, in_digits(left) }
