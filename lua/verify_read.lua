-- Reads all that some records are made of, each record at one moment, whatever is stored there.
--
-- KEYS[1..] -> any key of one partition, of any type
-- ARGV[1] = after how many bytes no further record is read
-- ARGV[2..] = per record how many looks it takes, and per look a command that reads, the number of its
-- key, how many words follow the key, and those
-- Reply: {server's time in microseconds, per look {what it found} or {"", why it cannot be read}, ...},
-- of the first records, at least one
local most = tonumber(ARGV[1])
local position = 2

local function size_of(found)
  if type(found) ~= 'table' then
    return #tostring(found)
  end
  local size = 0
  for _, part in ipairs(found) do
    size = size + size_of(part)
  end
  return size
end

local time = redis.call('TIME')
local reply, bytes = { string.format('%s%06d', time[1], tonumber(time[2])) }, 0
while position <= #ARGV and (bytes <= most or #reply == 1) do
  local looks = tonumber(ARGV[position])
  position = position + 1
  for _ = 1, looks do
    local command, record_key = ARGV[position], KEYS[tonumber(ARGV[position + 1])]
    local first, last = position + 3, position + 2 + tonumber(ARGV[position + 2])
    local found = redis.pcall(command, record_key, unpack(ARGV, first, last))
    position = last + 1
    if type(found) == 'table' and found.err then
      reply[#reply + 1] = { '', found.err }
    else
      found = type(found) == 'table' and found.ok or found
      bytes = bytes + size_of(found)
      reply[#reply + 1] = { found }
    end
  end
end
return reply
