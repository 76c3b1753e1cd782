-- Appends a row to a partition's log and its entry id to the flow's index.
--
-- The entry id carries the server's time in microseconds: <ms>-<microseconds within it * 1000>.
-- Should the log's last entry not lie before that (the same microsecond, or a clock that went
-- back), the server chooses the next id after the last.
--
-- Uses: once
-- KEYS[1] -> {<namespace>:<partition>}:audit or :transitions  stream
-- KEYS[2] -> {<namespace>:<partition>}:audit_flow:<dfid> or :transitions_flow:<dfid>  list of ids
-- KEYS[3] -> {<namespace>:<partition>}:op:<session>  string
-- ARGV[1..] = field, value, ... of the row
-- ARGV[last-1] = the operation's number in its session
-- ARGV[last] = how long the session is kept, milliseconds
-- Reply: the entry id
local log_key, flow_key = KEYS[1], KEYS[2]

return once(function()
  redis.call('LLEN', flow_key) -- a key of another type fails here, before anything is written
  local time = redis.call('TIME')
  local microseconds = tonumber(time[2])
  local id = string.format(
    '%s%03d-%d', time[1], math.floor(microseconds / 1000), microseconds % 1000 * 1000
  )
  local entry = redis.pcall('XADD', log_key, id, unpack(ARGV, 1, #ARGV - 2))
  if type(entry) == 'table' then
    entry = redis.call('XADD', log_key, '*', unpack(ARGV, 1, #ARGV - 2))
  end
  redis.call('RPUSH', flow_key, entry)
  return entry
end)
