-- Releases all that a flow holds.
--
-- Uses: once, clock, units, many, reservations, admission, queue, locks
-- KEYS[1] -> {<namespace>:0}:lock_totals  hash, units held by all by resource_id
-- KEYS[2] -> {<namespace>:0}:lock_flows  hash, what each flow holds by dfid
-- KEYS[3] -> {<namespace>:0}:lock_leases  sorted set, dfid by the end of its lease
-- KEYS[4] -> {<namespace>:0}:lock_holders  sorted set, resource_id and dfid
-- KEYS[5] -> {<namespace>:0}:lock_capacities  hash, units by resource_id
-- KEYS[6] -> {<namespace>:0}:lock_queue  sorted set, resource_id and ticket
-- KEYS[7] -> {<namespace>:0}:lock_waiters  hash, what each waits for by ticket
-- KEYS[8] -> {<namespace>:0}:lock_waiting  sorted set, ticket by when it counts as dead
-- KEYS[9] -> {<namespace>:0}:lock_counter  string, the last token or ticket
-- KEYS[10] -> {<namespace>:0}:op:<session>  string
-- ARGV[1] = dfid
-- ARGV[2] = the token it must have; empty for any
-- ARGV[3] = the operation's number in its session
-- ARGV[4] = how long the session is kept, milliseconds
-- Reply: "OK"; "LOST" if the token is not the reservation's, with nothing of it released; "AGAIN"
-- (more leases had run out than are ended at once: call again)
local locks = { KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9] }
locks.before = 0
local dfid, token = ARGV[1], ARGV[2]

return once(function()
  local now = server_time()
  local touched, more = sweep(locks, now)
  local reply = 'OK'
  if more then
    reply = 'AGAIN'
  elseif token ~= '' and not has_token(read_flow(locks, dfid), token) then
    reply = 'LOST'
  else
    local plan = plan_release(locks, { dfid })
    release(locks, plan)
    append(touched, plan.ids)
  end
  wake(locks, touched, now)
  return reply
end)
