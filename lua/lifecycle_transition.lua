-- Appends a transition if the flow has the status its caller believes it to have.
--
-- Uses: once, log, status
-- KEYS[1] -> {<namespace>:<partition>}:transitions  stream
-- KEYS[2] -> {<namespace>:<partition>}:transitions_flow:<dfid>  list of ids
-- KEYS[3] -> {<namespace>:<partition>}:op:<session>  string
-- ARGV[1] = the status it must have; a flow without transitions has CREATED
-- ARGV[2..] = field, value, ... of the row
-- ARGV[last-1] = the operation's number in its session
-- ARGV[last] = how long the session is kept, milliseconds
-- Reply: "DONE"; "CONFLICT <status>" with the status it has; "CONFLICT" if it has no transitions
local log_key, flow_key = KEYS[1], KEYS[2]
local expected = ARGV[1]

return once(function()
  local status = latest_status(log_key, flow_key)
  if (status or INITIAL_STATUS) ~= expected then
    return conflict(status)
  end
  append_row(log_key, flow_key, ARGV, 2, #ARGV - 2)
  return 'DONE'
end)
