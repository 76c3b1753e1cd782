-- Appends copied rows to a partition's log, each with an id made of its own moment.
--
-- An id that does not lie behind the log's last entry gives way to the next one after that.
--
-- Uses: once
-- KEYS[1] -> {<namespace>:<partition>}:audit or :transitions  stream
-- KEYS[2..] -> {<namespace>:<partition>}:audit_flow:<dfid> or :transitions_flow:<dfid>  list of ids, one
-- for each flow
-- KEYS[last] -> {<namespace>:<partition>}:op:<session>  string
-- ARGV[1] = how many words a row has: its fields and values
-- ARGV[2..] = per row the number of its flow, from 1, its entry id, and its words: field, value, ...
-- ARGV[last-1] = the operation's number in its session
-- ARGV[last] = how long the session is kept, milliseconds
-- Reply: "DONE"
local log_key, first_flow = KEYS[1], 2
local words = tonumber(ARGV[1])

-- The id after the last entry; should that be in the way of nothing but what was trimmed, the server
-- chooses one.
local function next_id()
  local entry = redis.call('XREVRANGE', log_key, '+', '-', 'COUNT', 1)[1]
  if not entry then
    return '*'
  end
  local milliseconds, sequence = string.match(entry[1], '^(%d+)%-(%d+)$')
  return string.format('%s-%.0f', milliseconds, tonumber(sequence) + 1)
end

local function add_row(position)
  local entry
  for _, id in ipairs({ ARGV[position + 1], next_id, '*' }) do
    entry = redis.pcall(
      'XADD', log_key, type(id) == 'function' and id() or id,
      unpack(ARGV, position + 2, position + 1 + words)
    )
    if type(entry) == 'string' then
      return entry
    end
  end
  error(entry.err)
end

return once(function()
  redis.call('XLEN', log_key) -- keys of another type fail here, before anything is written
  for position = first_flow, #KEYS - 1 do
    local flow_key = KEYS[position]
    redis.call('LLEN', flow_key)
  end
  for position = 2, #ARGV - 2, words + 2 do
    local flow_key = KEYS[first_flow + tonumber(ARGV[position]) - 1]
    redis.call('RPUSH', flow_key, add_row(position))
  end
  return 'DONE'
end)
