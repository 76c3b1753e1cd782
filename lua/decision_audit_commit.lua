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
  -- An id ahead of the log would let rows go that nobody has archived. The log's last entry may
  -- have been lost in a failover, so the time counts too.
  local time = redis.call('TIME')
  local now = string.format('%s%03d-999999', time[1], math.floor(tonumber(time[2]) / 1000))
  local last = redis.call('XREVRANGE', log_key, '+', '-', 'COUNT', 1)[1]
  if is_later(id, now) and is_later(id, last and last[1] or '') then
    return 'AHEAD'
  end
  if not archived or is_later(id, archived) then
    redis.call('HSET', groups_key, group, id)
  end
  return 'DONE'
end)
