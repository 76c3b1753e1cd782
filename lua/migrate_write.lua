-- Writes those of some records that are not there by commands, all in one step, at most once, for copying.
--
-- Uses: once
-- KEYS[1..] -> any key of the partition, of the type that its commands take
-- KEYS[last] -> {<namespace>:<partition>}:op:<session>  string
-- ARGV[1..] = per record the number of its looks and of its commands; per look EXISTS, HEXISTS or
-- ZSCORE, the number of its key, and a member or field, empty for none; per command how many words it
-- has behind its key, its name, its key's number, the words
-- ARGV[last-1] = the operation's number in its session
-- ARGV[last] = how long the session is kept, milliseconds
-- Reply: how many were written; the others are there, since one of their looks finds something
local last = #ARGV - 2

-- What fails on a key of another type, for the commands that would fail on it half-way.
local LOOKS = { HSET = 'HLEN', HDEL = 'HLEN', ZADD = 'ZCARD', ZREM = 'ZCARD' }

local function look(command, number, ...)
  local found = redis.pcall(command, KEYS[number], ...)
  if type(found) == 'table' and found.err then
    error(string.find(found.err, 'WRONGTYPE') and 'DIRCORRUPT ' .. number or found.err)
  end
  return found
end

local function finds(position)
  local command, number, member = ARGV[position], tonumber(ARGV[position + 1]), ARGV[position + 2]
  local found = command == 'EXISTS' and look(command, number) or look(command, number, member)
  return found and found ~= 0
end

-- The positions of the commands to run, after a look at every key.
local function read_commands()
  local commands, written, looked, position = {}, 0, {}, 1
  while position <= last do
    local looks, writes = tonumber(ARGV[position]), tonumber(ARGV[position + 1])
    local there = false
    position = position + 2
    for _ = 1, looks do
      there = finds(position) or there
      position = position + 3
    end
    for _ = 1, writes do
      local type_look, number = LOOKS[ARGV[position + 1]], tonumber(ARGV[position + 2])
      if type_look and not looked[number] then
        looked[number] = true
        look(type_look, number)
      end
      if not there then
        commands[#commands + 1] = position
      end
      position = position + 3 + tonumber(ARGV[position])
    end
    written = written + (there and 0 or 1)
  end
  return commands, written
end

return once(function()
  local commands, written = read_commands()
  for _, position in ipairs(commands) do
    local words, command = tonumber(ARGV[position]), ARGV[position + 1]
    local record_key = KEYS[tonumber(ARGV[position + 2])]
    redis.call(command, record_key, unpack(ARGV, position + 3, position + 2 + words))
  end
  return string.format('%d', written)
end)
