-- Ends leases that ran out and drops waiters that are dead; also one that gives up.
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
-- ARGV[1] = the ticket of who gives up; empty for nobody
-- ARGV[2] = the operation's number in its session
-- ARGV[3] = how long the session is kept, milliseconds
-- Reply: "OK"; "AGAIN" if there is more than is done at once: call again
local locks = { KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9] }
locks.before = 0
local ticket = ARGV[1]

return once(function()
  local now = server_time()
  local touched, more = sweep(locks, now, ticket)
  if locks.crowded and redis.call('ZSCORE', locks[WAITING], ticket) then
    local waiter = read_waiter(locks, ticket)
    leave_queue_of(locks, ticket, waiter)
    append(touched, waiter.ids)
  end
  wake(locks, touched, now)
  return more and 'AGAIN' or 'OK'
end)
