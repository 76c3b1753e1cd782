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

return once(function()
  local count = redis.call('GET', count_key)
  if count == largest then
    return count
  end
  -- INCR is exact where Lua's doubles are not, and changes nothing that is no integer.
  local counted = redis.pcall('INCR', count_key)
  if type(counted) == 'table' then
    error('DIRCORRUPT 1')
  end
  return redis.call('GET', count_key)
end)
