-- Ends a flow of partition 0: all of its own records, and its reservations with them.
--
-- Uses: once, clock, units, many, reservations, admission, queue, locks, log, status, sha256, chain, closing
-- KEYS[1] -> {<namespace>:0}:transitions  stream
-- KEYS[2] -> {<namespace>:0}:transitions_flow:<dfid>  list of ids
-- KEYS[3] -> {<namespace>:0}:audit  stream
-- KEYS[4] -> {<namespace>:0}:audit_flow:<dfid>  list of ids
-- KEYS[5] -> {<namespace>:0}:retry:<dfid>  string
-- KEYS[6] -> {<namespace>:0}:session:<dfid>  hash
-- KEYS[7] -> {<namespace>:0}:audit_end  hash, the audit log's chain's end
-- KEYS[8] -> {<namespace>:0}:lock_totals  hash, units held by all by resource_id
-- KEYS[9] -> {<namespace>:0}:lock_flows  hash, what each flow holds by dfid
-- KEYS[10] -> {<namespace>:0}:lock_leases  sorted set, dfid by the end of its lease
-- KEYS[11] -> {<namespace>:0}:lock_holders  sorted set, resource_id and dfid
-- KEYS[12] -> {<namespace>:0}:lock_capacities  hash, units by resource_id
-- KEYS[13] -> {<namespace>:0}:lock_queue  sorted set, resource_id and ticket
-- KEYS[14] -> {<namespace>:0}:lock_waiters  hash, what each waits for by ticket
-- KEYS[15] -> {<namespace>:0}:lock_waiting  sorted set, ticket by when it counts as dead
-- KEYS[16] -> {<namespace>:0}:lock_counter  string, the last token or ticket
-- KEYS[17] -> {<namespace>:0}:op:<session>  string
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
local locks = {
  KEYS[8], KEYS[9], KEYS[10], KEYS[11], KEYS[12], KEYS[13], KEYS[14], KEYS[15], KEYS[16],
}
locks.before = 7
local final, expected, dfid = ARGV[1], ARGV[2], ARGV[4]
local told = { final, ARGV[3], dfid, ARGV[5], ARGV[6] }

return once(function()
  local verdict, status, chain_end = judge_closing(closing, final, expected)
  if verdict ~= 'CLOSED' and verdict ~= 'ALREADY' then
    return verdict
  end
  check_locks(locks)
  local plan = plan_release(locks, { dfid })
  release(locks, plan)
  write_closing(closing, verdict, status, chain_end, told, ARGV, 7, #ARGV - 2)
  wake(locks, plan.ids, server_time())
  return verdict
end)
