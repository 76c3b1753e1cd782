-- Claims with a lease: the store's time, and tokens that rise.

-- The server's time in microseconds.
local function claim_time()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

-- A token or a moment as the digits it is.
local function in_digits(number)
  return string.format('%.0f', number)
end

-- Above 2^53 - 1 two tokens in a row may be the same to Lua.
local LARGEST_TOKEN = 9007199254740991

-- A token larger than the last one. It follows the time, so that it rises also where the last one
-- is forgotten. The last one, nil or false for none, comes from KEYS[position].
local function next_token(last, now, position)
  if not last then
    return in_digits(now)
  end
  if not string.find(last, '^%d+$') or tonumber(last) >= LARGEST_TOKEN then
    error('DIRCORRUPT ' .. position)
  end
  return in_digits(math.max(tonumber(last) + 1, now))
end
