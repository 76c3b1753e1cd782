-- Writes some records by commands, all in one step, at most once, for copying.
--
-- Uses: once
-- KEYS[1..] -> any key of the partition, of the type that its commands take
-- KEYS[last] -> {<namespace>:<partition>}:op:<session>  string
-- ARGV[1..] = per command how many words it has behind its key, its name, its key's number, the words
-- ARGV[last-1] = the operation's number in its session
-- ARGV[last] = how long the session is kept, milliseconds
-- Reply: "DONE"
local first, last = 1, #ARGV - 2

-- What fails on a key of another type, for the commands that would fail on it half-way.
local LOOKS = { HSET = 'HLEN', HDEL = 'HLEN', ZADD = 'ZCARD', ZREM = 'ZCARD' }

local function check_types()
  local looked = {}
  local position = first
  while position <= last do
    local look, number = LOOKS[ARGV[position + 1]], tonumber(ARGV[position + 2])
    if look and not looked[number] then
      looked[number] = true
      local found = redis.pcall(look, KEYS[number])
      if type(found) == 'table' then
        error(string.find(found.err, 'WRONGTYPE') and 'DIRCORRUPT ' .. number or found.err)
      end
    end
    position = position + 3 + tonumber(ARGV[position])
  end
end

return once(function()
  check_types()
  local position = first
  while position <= last do
    local words, command = tonumber(ARGV[position]), ARGV[position + 1]
    local record_key = KEYS[tonumber(ARGV[position + 2])]
    redis.call(command, record_key, unpack(ARGV, position + 3, position + 2 + words))
    position = position + 3 + words
  end
  return 'DONE'
end)
