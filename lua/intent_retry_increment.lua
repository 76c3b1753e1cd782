-- Counts one more rejection of a flow.
--
-- Uses: once
-- KEYS[1] -> {<namespace>:<partition>}:retry:<dfid>  string, the count
-- KEYS[2] -> {<namespace>:<partition>}:op:<session>  string
-- ARGV[1] = the largest count there is, at which it stays
-- ARGV[2] = the operation's number in its session
-- ARGV[3] = how long the session is kept, milliseconds
-- Reply: the new count, in digits
local count_key = KEYS[1]
local largest = ARGV[1]

-- Whether INCR takes it: a whole number as it writes one, no larger than the largest.
local function is_count(text)
  local digits = string.match(text, '^%-?([1-9]%d*)$')
  if not digits then
    return text == '0'
  end
  return #digits < #largest or (#digits == #largest and digits <= largest)
end

return once(function()
  local count = redis.call('GET', count_key)
  if count == largest then
    return count
  end
  if count and not is_count(count) then
    error('DIRCORRUPT 1')
  end
  redis.call('INCR', count_key) -- exact where Lua's doubles are not
  return redis.call('GET', count_key)
end)
