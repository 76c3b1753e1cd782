-- Lowers what a flow holds of some resources.
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
-- ARGV[3] = number n of resources
-- ARGV[4..n+3] = resource ids, sorted
-- then n amounts to keep, units
-- ARGV[last-1] = the operation's number in its session
-- ARGV[last] = how long the session is kept, milliseconds
-- Reply: "SETTLED", or with nothing of it written "LOST" (the token is not the reservation's),
-- "EXCEEDS <i> <held>" (it holds less of resource i), "AGAIN" (more leases had run out than are
-- ended at once: call again)
local locks = { KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9] }
locks.before = 0
local dfid, token, n = ARGV[1], ARGV[2], tonumber(ARGV[3])
local ids, kept = slice(ARGV, 4, n + 3), slice(ARGV, n + 4, 2 * n + 3)

-- The new totals; or nil, and the number of the first resource of which less is held.
local function plan_totals(flow)
  local totals, new_totals = read_fields(locks[TOTALS], ids, 1, n), {}
  for i, resource_id in ipairs(ids) do
    local held_high, held_low = split(flow.units[resource_id] or '0')
    local high, low = split(kept[i])
    if exceeds(high, low, held_high, held_low) then
      return nil, i
    end
    local others_high, others_low = without(totals[i], locks.before + TOTALS, held_high, held_low)
    new_totals[i] = join(plus(others_high, others_low, high, low))
  end
  return new_totals
end

return once(function()
  local now = server_time()
  local touched, more = sweep(locks, now)
  local flow = read_flow(locks, dfid)
  local reply = 'SETTLED'
  if more then
    reply = 'AGAIN'
  elseif token ~= '' and not has_token(flow, token) then
    reply = 'LOST'
  else
    local new_totals, exceeded = plan_totals(flow)
    if new_totals then
      append(touched, hold(locks, dfid, flow, ids, kept, new_totals, now))
    else
      reply = string.format('EXCEEDS %d %s', exceeded, flow.units[ids[exceeded]] or '0')
    end
  end
  wake(locks, touched, now)
  return reply
end)
