-- Notes up to which entry a reader group has archived a partition's audit log; never goes back.
--
-- Uses: once, order
-- KEYS[1] -> {<namespace>:<partition>}:audit_groups  hash
-- KEYS[2] -> {<namespace>:<partition>}:audit  stream
-- KEYS[3] -> {<namespace>:<partition>}:op:<session>  string
-- ARGV[1] = the group
-- ARGV[2] = the id of the last entry archived; empty for none
-- ARGV[3] = the operation's number in its session
-- ARGV[4] = how long the session is kept, milliseconds
-- Reply: "DONE"; "AHEAD" if the log cannot have such an entry yet
local groups_key, log_key = KEYS[1], KEYS[2]
local group, id = ARGV[1], ARGV[2]

return once(function()
  local archived = redis.call('HGET', groups_key, group)
  if archived and not is_id(archived) then
    error('DIRCORRUPT 1')
  end
  if is_ahead(log_key, id) then
    return 'AHEAD'
  end
  if not archived or is_later(id, archived) then
    redis.call('HSET', groups_key, group, id)
  end
  return 'DONE'
end)
