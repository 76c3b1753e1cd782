-- Says what a commit of a reader group would say of a partition's audit log, and changes nothing.
--
-- With several partitions all are asked before the first is written.
--
-- Uses: order
-- KEYS[1] -> {<namespace>:<partition>}:audit_groups  hash
-- KEYS[2] -> {<namespace>:<partition>}:audit  stream
-- ARGV[1] = the group
-- ARGV[2] = the id of the last entry archived; empty for none
-- Reply: "DONE"; "AHEAD" if the log cannot have such an entry yet
local groups_key, log_key = KEYS[1], KEYS[2]

local archived = redis.call('HGET', groups_key, ARGV[1])
if archived and not is_id(archived) then
  error('DIRCORRUPT 1')
end
if is_ahead(log_key, ARGV[2]) then
  return 'AHEAD'
end
return 'DONE'
