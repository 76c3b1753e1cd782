-- Ends a flow: final transition, audit row, retry count and session, all of them or none.
--
-- Its reservations lie in another slot, and are released in a second step.
--
-- Uses: once, log, status, closing
-- KEYS[1] -> {<namespace>:<partition>}:transitions  stream
-- KEYS[2] -> {<namespace>:<partition>}:transitions_flow:<dfid>  list of ids
-- KEYS[3] -> {<namespace>:<partition>}:audit  stream
-- KEYS[4] -> {<namespace>:<partition>}:audit_flow:<dfid>  list of ids
-- KEYS[5] -> {<namespace>:<partition>}:retry:<dfid>  string
-- KEYS[6] -> {<namespace>:<partition>}:session:<dfid>  hash
-- KEYS[7] -> {<namespace>:<partition>}:op:<session>  string
-- ARGV[1] = the status the flow ends in
-- ARGV[2] = the status it must have before, behind a '='; empty for any
-- ARGV[3] = how long its session is kept, milliseconds; empty for ever
-- ARGV[4] = the dfid
-- ARGV[5] = the root_dfid of the transition, empty for the dfid
-- ARGV[6..] = field, value, ... of the audit row
-- ARGV[last-1] = the operation's number in its session
-- ARGV[last] = how long the session is kept, milliseconds
-- Reply: "CLOSED"; "ALREADY" if it had the status; "CONFLICT <status>" or, of a flow without
-- transitions, "CONFLICT" if it has neither status
local log_key, flow_key = KEYS[1], KEYS[2]
local audit_key, audit_flow_key = KEYS[3], KEYS[4]
local retry_key, session_key = KEYS[5], KEYS[6]
local final, expected, keep_ms = ARGV[1], ARGV[2], ARGV[3]

return once(function()
  local verdict, status = judge_closing(
    log_key, flow_key, audit_key, audit_flow_key, retry_key, session_key, final, expected
  )
  if verdict ~= 'CLOSED' and verdict ~= 'ALREADY' then
    return verdict
  end
  redis.call('DEL', retry_key)
  if verdict == 'CLOSED' then
    local row = { 'dfid', ARGV[4], 'from', status, 'to', final, 'root_dfid', ARGV[5] }
    append_row(log_key, flow_key, row, 1, #row)
    append_row(audit_key, audit_flow_key, ARGV, 6, #ARGV - 2)
    keep_session(session_key, keep_ms)
  else
    keep_session_of_closed(session_key, keep_ms)
  end
  return verdict
end)
