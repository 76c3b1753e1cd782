-- The server's time, the only one there is.

-- In microseconds since 1970, exact as a double until the year 2255.
local function server_time()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

-- A whole number as it is stored: tostring() would write 1.7e+15.
local function as_digits(number)
  return string.format('%.0f', number)
end
