-- Runs one write command on one key, at most once.
--
-- Uses: once
-- KEYS[1] -> any key, of the type the command takes
-- KEYS[2] -> {<namespace>:<partition>}:op:<session>  string
-- ARGV[1] = the command's name
-- ARGV[2..] = the command's arguments after the key
-- ARGV[last-1] = the operation's number in its session
-- ARGV[last] = how long the session is kept, milliseconds
-- Reply: "OK"
local target_key = KEYS[1]
local command = ARGV[1]

return once(function()
  redis.call(command, target_key, unpack(ARGV, 2, #ARGV - 2))
  return 'OK'
end)
