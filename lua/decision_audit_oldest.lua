-- Finds the flows of the oldest rows that may be dropped, whose lists a trim has to declare.
--
-- Uses: clock, order, trim
-- KEYS[1] -> {<namespace>:<partition>}:audit  stream
-- KEYS[2] -> {<namespace>:<partition>}:audit_groups  hash
-- ARGV[1] = the age from which a row may go, microseconds; empty for none
-- ARGV[2] = how many of the newest rows stay; empty for any number
-- ARGV[3] = rows at most
-- Reply: {how many rows may go, dfid, ...}, each flow once
local log_key, groups_key = KEYS[1], KEYS[2]

local rows, count = oldest_rows(log_key, groups_key, ARGV[1], ARGV[2], ARGV[3])
local reply, seen = { count }, {}
for position = 1, count do
  local dfid = flow_of(rows[position])
  if not seen[dfid] then
    seen[dfid] = true
    reply[#reply + 1] = dfid
  end
end
return reply
