-- Sets a flow's amounts of several resources, all or none, with a lease and a new token; or queues.
--
-- The rule is that of dir_redis.admission.admit_reservation, in the same order.
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
-- ARGV[2] = lease, microseconds; empty for none
-- ARGV[3] = the caller's ticket; empty at first
-- ARGV[4] = the list that wakes the caller, in the slot of the other keys; empty to queue no longer
-- ARGV[5] = after how long a waiter that does not look again is dead, microseconds
-- ARGV[6] = number n of resources
-- ARGV[7..n+6] = resource ids, sorted
-- then n amounts, units
-- then n capacities that came with the call, units, or "" for none
-- ARGV[last-1] = the operation's number in its session
-- ARGV[last] = how long the session is kept, milliseconds
-- Reply: "GRANTED <token> <end>" (microseconds, 0 without a lease); "QUEUED <ticket> <wait>": look
-- again when woken, or after so many microseconds; or, with nothing of it written and out of the
-- queue, "SHORT <i> <capacity> <others>" (resource i does not fit), "OVERFLOW <i>" (its total would
-- exceed int64), "BEHIND <i>" (it fits, but others have waited longer for resource i); or "AGAIN"
-- (more leases had run out than are ended at once: call again)
local locks = { KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9] }
locks.before = 0
local dfid, lease, wake_key = ARGV[1], ARGV[2], ARGV[4]
local dead_after, n = tonumber(ARGV[5]), tonumber(ARGV[6])
local request = {
  ids = slice(ARGV, 7, n + 6),
  units = slice(ARGV, n + 7, 2 * n + 6),
  brought = slice(ARGV, 2 * n + 7, 3 * n + 6),
}

-- How long nothing can change for a waiter without a wake-up, at most a second.
local function longest_wait(ticket, now)
  local ends = next_end(locks)
  if ends and ends - now < LOOK_AGAIN_US then
    for _, resource_id in ipairs(request.ids) do
      if first_in_line(locks, resource_id) == ticket then
        return ends - now
      end
    end
  end
  return LOOK_AGAIN_US
end

return once(function()
  local now = server_time()
  local number = next_number(locks, now) -- fails before anything is written
  local freed, more = sweep(locks, now, ARGV[3])
  if more then
    wake(locks, freed, now)
    return 'AGAIN'
  end
  local ticket = locks.crowded and redis.call('ZSCORE', locks[WAITING], ARGV[3]) and ARGV[3]
  local flow = read_flow(locks, dfid)
  local room = read_room(locks, flow, request)
  local refusal, new_totals = judge(room, request)
  local hopeless = refusal and is_hopeless(refusal, room, request)
  local overtaken = not refusal and first_overtaken(locks, flow, request, ticket)
  if overtaken then
    refusal = string.format('BEHIND %d', overtaken)
  end

  if refusal and not hopeless and wake_key ~= '' then
    if not ticket then
      check_locks(locks)
      ticket = number
      redis.call('SET', locks[COUNTER], ticket)
      store_waiter(locks, ticket, wake_key, dfid, request)
    end
    redis.call('ZADD', locks[WAITING], as_digits(now + dead_after), ticket)
    wake(locks, freed, now)
    return string.format('QUEUED %s %s', ticket, as_digits(longest_wait(ticket, now)))
  end

  local ends = lease == '' and '0' or as_digits(now + tonumber(lease))
  if not refusal then
    local had_lease = flow.ends ~= '0'
    flow.token, flow.ends = number, ends
    append(freed, hold(locks, dfid, flow, request.ids, request.units, new_totals, now))
    redis.call('SET', locks[COUNTER], number)
    if lease ~= '' then
      redis.call('ZADD', locks[LEASES], ends, dfid)
    elseif had_lease then
      redis.call('ZREM', locks[LEASES], dfid)
    end
    if lease ~= '' and tonumber(lease) < LOOK_AGAIN_US then
      append(freed, flow.ids)
    end
  end
  if ticket then
    leave_queue_of(locks, ticket, request)
    append(freed, request.ids)
  end
  wake(locks, freed, now)
  return refusal or string.format('GRANTED %s %s', number, ends)
end)
