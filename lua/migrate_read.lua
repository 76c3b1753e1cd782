-- Reads all that some records are made of, each record at one moment, for copying.
--
-- KEYS[1..] -> any key of one partition, of the type that its commands take
-- ARGV[1] = how many looks a record takes
-- ARGV[2] = after how many bytes no further record is read
-- ARGV[3..] = per look a command that reads, the number of its key, and a member or field, empty for
-- none; PTTL finds when the key goes (milliseconds since 1970, or empty), ZRANGE all members with their
-- scores, ZREVRANGE the last one
-- Reply: {server's time in microseconds, what each look found, ...}, of the first records at least one
local looks, most = tonumber(ARGV[1]), tonumber(ARGV[2])

local function time_in_ms()
  local time = redis.call('TIME')
  return string.format('%s%03d', time[1], math.floor(tonumber(time[2]) / 1000))
end

-- PEXPIRETIME is of Redis 7. A server whose scripts see the time pass is asked again if the
-- millisecond was over in between.
local function end_of(record_key)
  for _ = 1, 100 do
    local before, left = time_in_ms(), redis.call('PTTL', record_key)
    if left < 0 then
      return ''
    end
    if time_in_ms() == before then
      return string.format('%.0f', tonumber(before) + left)
    end
  end
  error('the clock does not stand still for a moment')
end

local function look(command, record_key, member)
  if command == 'PTTL' then
    return end_of(record_key)
  elseif command == 'ZRANGE' then
    return redis.pcall(command, record_key, 0, -1, 'WITHSCORES')
  elseif command == 'ZREVRANGE' then
    return redis.pcall(command, record_key, 0, 0, 'WITHSCORES')
  elseif member == '' then
    return redis.pcall(command, record_key)
  end
  return redis.pcall(command, record_key, member)
end

local function size_of(found)
  local size = 0
  for _, part in ipairs(type(found) == 'table' and found or { found }) do
    size = size + #tostring(part)
  end
  return size
end

local time = redis.call('TIME')
local reply, read, bytes = { string.format('%s%06d', time[1], tonumber(time[2])) }, 0, 0
for position = 3, #ARGV, 3 do
  if read % looks == 0 and bytes > most then
    break
  end
  local number = tonumber(ARGV[position + 1])
  local found = look(ARGV[position], KEYS[number], ARGV[position + 2])
  if type(found) == 'table' and found.err then
    error(string.find(found.err, 'WRONGTYPE') and 'DIRCORRUPT ' .. number or found.err)
  end
  read, bytes = read + 1, bytes + size_of(found)
  reply[#reply + 1] = found
end
return reply
