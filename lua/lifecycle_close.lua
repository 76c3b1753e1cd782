-- Ends a flow: final transition, audit row, retry count and session, all of them or none.
--
-- Its reservations lie in another slot, and are released in a second step.
--
-- Uses: once, log, status, sha256, chain, closing
-- KEYS[1] -> {<namespace>:<partition>}:transitions  stream
-- KEYS[2] -> {<namespace>:<partition>}:transitions_flow:<dfid>  list of ids
-- KEYS[3] -> {<namespace>:<partition>}:audit  stream
-- KEYS[4] -> {<namespace>:<partition>}:audit_flow:<dfid>  list of ids
-- KEYS[5] -> {<namespace>:<partition>}:retry:<dfid>  string
-- KEYS[6] -> {<namespace>:<partition>}:session:<dfid>  hash
-- KEYS[7] -> {<namespace>:<partition>}:audit_end  hash, the audit log's chain's end
-- KEYS[8] -> {<namespace>:<partition>}:op:<session>  string
-- ARGV[1] = the status the flow ends in
-- ARGV[2] = the status it must have before, behind a '='; empty for any
-- ARGV[3] = how long its session is kept, milliseconds; empty for ever
-- ARGV[4] = the dfid
-- ARGV[5] = the root_dfid of the transition, empty for the dfid
-- ARGV[6] = the SHA-256 of the audit row's contents, hex; empty to leave it out of the chain
-- ARGV[7..] = field, value, ... of the audit row
-- ARGV[last-1] = the operation's number in its session
-- ARGV[last] = how long the session is kept, milliseconds
-- Reply: "CLOSED"; "ALREADY" if it had the status; "CONFLICT <status>" or, of a flow without
-- transitions, "CONFLICT" if it has neither status
local closing = { KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7] }
local final, expected = ARGV[1], ARGV[2]
local told = { final, ARGV[3], ARGV[4], ARGV[5], ARGV[6] }

return once(function()
  local verdict, status, chain_end = judge_closing(closing, final, expected)
  if verdict == 'CLOSED' or verdict == 'ALREADY' then
    write_closing(closing, verdict, status, chain_end, told, ARGV, 7, #ARGV - 2)
  end
  return verdict
end)
