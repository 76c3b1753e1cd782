-- Sets a flow's amounts of several resources, all or none: one check-and-set.
--
-- The rule is that of dir_redis.amounts.admit, in the same order. The cost grows with the batch and
-- with what the flow holds, not with the number of holders: each resource has a running total.
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
-- ARGV[2] = number n of resources
-- ARGV[3..n+2] = resource ids, sorted
-- then n amounts, units
-- then n capacities that came with the call, units, or "" for none
-- then n amounts this caller was told others hold, units, or "" for none
-- ARGV[last-1] = the operation's number in its session
-- ARGV[last] = how long the session is kept, milliseconds
-- Reply: "ACQUIRED", or with nothing of it written "GROWN" (others hold more than the caller was
-- told), "BEHIND" (others wait for a resource), "SHORT <i> <capacity> <others>" (resource i does
-- not fit), "OVERFLOW <i>" (its total would exceed int64), "AGAIN" (more leases had run out than
-- are ended at once: call again)
local locks = { KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9] }
locks.before = 0
local dfid, n = ARGV[1], tonumber(ARGV[2])
local request = {
  ids = slice(ARGV, 3, n + 2),
  units = slice(ARGV, n + 3, 2 * n + 2),
  brought = slice(ARGV, 2 * n + 3, 3 * n + 2),
}

-- Whether others hold more of a resource than this caller was told.
local function has_grown(room)
  for i = 1, n do
    local told = ARGV[3 * n + 2 + i]
    if told ~= '' and exceeds(room.high[i], room.low[i], split(told)) then
      return true
    end
  end
  return false
end

return once(function()
  local now = server_time()
  local freed, more = sweep(locks, now)
  if more then
    wake(locks, freed, now)
    return 'AGAIN'
  end
  local flow = read_flow(locks, dfid)
  local room = read_room(locks, flow, request)
  local refusal, new_totals = judge(room, request)
  if has_grown(room) then
    refusal = 'GROWN'
  elseif first_overtaken(locks, flow, request) then
    refusal = 'BEHIND'
  end
  if not refusal then
    append(freed, hold(locks, dfid, flow, request.ids, request.units, new_totals, now))
  end
  wake(locks, freed, now)
  return refusal or 'ACQUIRED'
end)
