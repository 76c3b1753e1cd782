-- Appends to a log: a stream of a partition's rows, and per flow the list of its entry ids.
--
-- An entry id carries the server's time in microseconds: <ms>-<microseconds within it * 1000>.
-- Should the log's last entry not lie before that (the same microsecond, or a clock that went
-- back), the server chooses the next id after the last.

-- Appends the fields and values list[first] to list[last] to the log alone; returns the entry id.
local function append_entry(log_key, list, first, last)
  local time = redis.call('TIME')
  local microseconds = tonumber(time[2])
  local id = string.format(
    '%s%03d-%d', time[1], math.floor(microseconds / 1000), microseconds % 1000 * 1000
  )
  local entry = redis.pcall('XADD', log_key, id, unpack(list, first, last))
  if type(entry) == 'table' then
    entry = redis.call('XADD', log_key, '*', unpack(list, first, last))
  end
  return entry
end

-- Appends a row to the log and to the flow's list, whose type was looked at before.
local function append_row(log_key, flow_key, list, first, last)
  local entry = append_entry(log_key, list, first, last)
  redis.call('RPUSH', flow_key, entry)
  return entry
end

-- Few enough for unpack.
local PUSHED_AT_ONCE = 1000

-- Appends to the list of each flow its own new ids; the flows' keys are KEYS[first_flow] and on.
local function push_ids(first_flow, ids_of_flows)
  for flow, own in ipairs(ids_of_flows) do
    local flow_key = KEYS[first_flow + flow - 1]
    for from = 1, #own, PUSHED_AT_ONCE do
      redis.call('RPUSH', flow_key, unpack(own, from, math.min(from + PUSHED_AT_ONCE - 1, #own)))
    end
  end
end
