-- Lets the lease of a flow's reservation run anew from now.
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
-- ARGV[2] = token
-- ARGV[3] = lease, microseconds
-- ARGV[4] = the operation's number in its session
-- ARGV[5] = how long the session is kept, milliseconds
-- Reply: "RENEWED <end>", microseconds; "LOST" if the token is not the reservation's; "AGAIN" (more
-- leases had run out than are ended at once: call again)
local locks = { KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9] }
locks.before = 0
local dfid, token, lease = ARGV[1], ARGV[2], tonumber(ARGV[3])

return once(function()
  local now = server_time()
  local touched, more = sweep(locks, now)
  local flow = read_flow(locks, dfid)
  -- One that ran out is still here only if the sweep could not release it, something being corrupt.
  local over = flow.ends ~= '0' and tonumber(flow.ends) <= now
  local held = not more and not over and has_token(flow, token)
  if held then
    flow.ends = as_digits(now + lease)
    redis.call('ZADD', locks[LEASES], flow.ends, dfid)
    store_flow(locks, dfid, flow)
    if lease < LOOK_AGAIN_US then
      append(touched, flow.ids)
    end
  end
  wake(locks, touched, now)
  if more then
    return 'AGAIN'
  end
  return held and 'RENEWED ' .. flow.ends or 'LOST'
end)
