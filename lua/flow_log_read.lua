-- Reads a page of one flow's rows, at a cost that does not depend on the log's length.
--
-- KEYS[1] -> {<namespace>:<partition>}:audit or :transitions  stream
-- KEYS[2] -> {<namespace>:<partition>}:audit_flow:<dfid> or :transitions_flow:<dfid>  list of ids
-- ARGV[1] = position of the first row, from 0
-- ARGV[2] = rows at most
-- Reply: {{entry id, {field, value, ...}}, ...}; fewer than asked for when there are no more
local log_key, flow_key = KEYS[1], KEYS[2]
local first, count = tonumber(ARGV[1]), tonumber(ARGV[2])

local rows = {}
for _, id in ipairs(redis.call('LRANGE', flow_key, first, first + count - 1)) do
  local entry = redis.call('XRANGE', log_key, id, id)[1]
  if not entry then
    error('DIRCORRUPT 2')
  end
  rows[#rows + 1] = entry
end
return rows
