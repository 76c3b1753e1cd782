-- Gives a sorted set's next member a score that puts it last.
--
-- The score is the server's time in microseconds, or one more than the highest score there is,
-- should the clock have stood still or run backwards. Exact as a double until the year 2255; a score
-- beyond that is spoilt, and no others are counted from it.
local LAST_STAMP = '9007199254740991'

local function next_stamp(sorted_set_key)
  local time = redis.call('TIME')
  local stamp = tonumber(time[1]) * 1000000 + tonumber(time[2])
  local highest = redis.call(
    'ZRANGE', sorted_set_key, LAST_STAMP, '-inf', 'BYSCORE', 'REV', 'LIMIT', 0, 1, 'WITHSCORES'
  )
  if highest[2] and tonumber(highest[2]) >= stamp then
    stamp = tonumber(highest[2]) + 1
  end
  return string.format('%.0f', stamp)
end
