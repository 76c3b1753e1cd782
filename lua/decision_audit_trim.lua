-- Drops the oldest rows of a partition's audit log, and their ids from the lists of their flows.
--
-- What may go is looked at anew: since the flows were found, others may have trimmed, or a reader
-- group may have come.
--
-- Uses: once, clock, order, trim
-- KEYS[1] -> {<namespace>:<partition>}:audit  stream
-- KEYS[2] -> {<namespace>:<partition>}:audit_groups  hash
-- KEYS[3] -> {<namespace>:<partition>}:audit_end  hash, where the chain ends and, of what is dropped
-- here, where it begins
-- KEYS[4..] -> {<namespace>:<partition>}:audit_flow:<dfid>  list of ids, one for each flow
-- KEYS[last] -> {<namespace>:<partition>}:op:<session>  string
-- ARGV[1] = the age from which a row may go, microseconds; empty for none
-- ARGV[2] = how many of the newest rows stay; empty for any number
-- ARGV[3] = rows at most
-- ARGV[4..] = the flows, in the order of their lists
-- ARGV[last-1] = the operation's number in its session
-- ARGV[last] = how long the session is kept, milliseconds
-- Reply: how many rows were dropped
local log_key, groups_key, end_key, first_flow = KEYS[1], KEYS[2], KEYS[3], 4

return once(function()
  redis.call('HLEN', end_key) -- a key of another type fails here, before anything is written
  local position_of = {}
  for position = first_flow, #KEYS - 1 do
    position_of[ARGV[position]] = position
  end
  local rows, count = oldest_rows(log_key, groups_key, ARGV[1], ARGV[2], ARGV[3])
  local dropped, ids = 0, {}
  while dropped < count do
    local position = position_of[flow_of(rows[dropped + 1])]
    if not position then
      break -- a row of a flow that was not among those found: the next call takes it
    end
    dropped = dropped + 1
    ids[position] = ids[position] or {}
    table.insert(ids[position], rows[dropped][1])
  end
  for position, own in pairs(ids) do
    local flow_key = KEYS[position]
    local listed = redis.call('LRANGE', flow_key, 0, #own - 1)
    for place, id in ipairs(own) do
      if listed[place] ~= id then
        error('DIRCORRUPT ' .. position)
      end
    end
  end
  for position, own in pairs(ids) do
    local flow_key = KEYS[position]
    redis.call('LTRIM', flow_key, #own, -1)
  end
  local number, link = last_link(rows, dropped)
  if number then
    redis.call('HSET', end_key, 'trimmed_number', number, 'trimmed_link', link)
  end
  if dropped > 0 then
    redis.call('XTRIM', log_key, 'MAXLEN', redis.call('XLEN', log_key) - dropped)
  end
  return string.format('%d', dropped)
end)
