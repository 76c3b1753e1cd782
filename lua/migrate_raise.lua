-- Raises a counter to a copied one; never lowers it.
--
-- Uses: once
-- KEYS[1] -> {<namespace>:0}:lock_counter or {<namespace>:<partition>}:sagas_counter  string
-- KEYS[2] -> {<namespace>:<partition>}:op:<session>  string
-- ARGV[1] = the number it has to have at least
-- ARGV[2] = the operation's number in its session
-- ARGV[3] = how long the session is kept, milliseconds
-- Reply: "DONE"
local counter_key = KEYS[1]
local number = ARGV[1]

return once(function()
  local last = redis.call('GET', counter_key)
  if last and not string.find(last, '^%d+$') then
    error('DIRCORRUPT 1')
  end
  if not last or #last < #number or (#last == #number and last < number) then
    redis.call('SET', counter_key, number)
  end
  return 'DONE'
end)
