-- Reads a page of one flow's rows, at a cost that does not depend on the log's length.
--
-- The page begins after an entry rather than at a position, since trimming takes rows from the
-- beginning of the list and moves the others up.
--
-- Uses: order
-- KEYS[1] -> {<namespace>:<partition>}:audit or :transitions  stream
-- KEYS[2] -> {<namespace>:<partition>}:audit_flow:<dfid> or :transitions_flow:<dfid>  list of ids
-- ARGV[1] = the id of the entry before, which may be gone; empty to begin with the first row
-- ARGV[2] = rows at most
-- Reply: {{entry id, {field, value, ...}}, ...}; fewer than asked for when there are no more
local log_key, flow_key = KEYS[1], KEYS[2]
local after, count = ARGV[1], tonumber(ARGV[2])

local first = 0
if after ~= '' then
  local beyond = redis.call('LLEN', flow_key)
  while first < beyond do
    local middle = math.floor((first + beyond) / 2)
    local id = redis.call('LINDEX', flow_key, middle)
    if not is_id(id) then
      error('DIRCORRUPT 2')
    end
    if is_later(id, after) then
      beyond = middle
    else
      first = middle + 1
    end
  end
end
local rows = {}
for _, id in ipairs(redis.call('LRANGE', flow_key, first, first + count - 1)) do
  local entry = is_id(id) and redis.call('XRANGE', log_key, id, id)[1]
  if not entry then
    error('DIRCORRUPT 2')
  end
  rows[#rows + 1] = entry
end
return rows
