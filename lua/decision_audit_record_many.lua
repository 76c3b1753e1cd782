-- Appends many rows to a partition's audit log, one after the other, at one moment.
--
-- Uses: once, log
-- KEYS[1] -> {<namespace>:<partition>}:audit  stream
-- KEYS[2..] -> {<namespace>:<partition>}:audit_flow:<dfid>  list of ids, one for each flow
-- KEYS[last] -> {<namespace>:<partition>}:op:<session>  string
-- ARGV[1] = how many words a row has: its fields and values
-- ARGV[2..] = per row the number of its flow, from 1, and its words: field, value, ...
-- ARGV[last-1] = the operation's number in its session
-- ARGV[last] = how long the session is kept, milliseconds
-- Reply: "DONE"
local log_key, first_flow = KEYS[1], 2
local words = tonumber(ARGV[1])

return once(function()
  for position = first_flow, #KEYS - 1 do
    local flow_key = KEYS[position]
    redis.call('LLEN', flow_key) -- a key of another type fails here, before anything is written
  end
  local ids, milliseconds, sequence = {}, nil, nil
  for position = 2, #ARGV - 2, words + 1 do
    local entry
    if sequence then
      sequence = sequence + 1
      local id = string.format('%s-%.0f', milliseconds, sequence)
      entry = redis.call('XADD', log_key, id, unpack(ARGV, position + 1, position + words))
    else
      entry = append_entry(log_key, ARGV, position + 1, position + words)
      milliseconds, sequence = string.match(entry, '^(%d+)%-(%d+)$')
      sequence = tonumber(sequence)
    end
    local flow = tonumber(ARGV[position])
    ids[flow] = ids[flow] or {}
    table.insert(ids[flow], entry)
  end
  push_ids(first_flow, ids)
  return 'DONE'
end)
