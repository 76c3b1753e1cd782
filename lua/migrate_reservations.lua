-- Writes copied reservations of flows that hold nothing, whatever is declared or waits.
--
-- Uses: once, clock, units, many, reservations, locks
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
-- ARGV[1] = the most that a total can be, units
-- ARGV[2..] = per flow its dfid, its token, the end of its lease, how many resources it holds, and for
-- each of them resource_id, units, and since when; the numbers as in lock_flows
-- ARGV[last-1] = the operation's number in its session
-- ARGV[last] = how long the session is kept, milliseconds
-- Reply: "DONE <how many were written>"; "OVERFLOW <dfid>" with nothing written if a total would be more than the most
local locks = { KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9] }
locks.before = 0
local most = ARGV[1]

-- Whether a flow holds anything: one whose lease is over does not, though nobody has released it.
local function is_there(dfid, now)
  if redis.call('HEXISTS', locks[FLOWS], dfid) == 0 then
    return false
  end
  local ends = read_flow(locks, dfid).ends
  return ends == '0' or tonumber(ends) > now
end

-- The flows to write, in order, and their dfids.
local function read_flows(now)
  local flows, dfids, position = {}, {}, 2
  while position <= #ARGV - 2 do
    local dfid, token, ends, count = unpack(ARGV, position, position + 3)
    local flow = { token = token, ends = ends, ids = {}, units = {}, since = {} }
    position = position + 4
    for i = 1, tonumber(count) do
      local resource_id, units, since = unpack(ARGV, position, position + 2)
      flow.ids[i], flow.units[resource_id], flow.since[resource_id] = resource_id, units, since
      position = position + 3
    end
    if not is_there(dfid, now) then
      flows[#flows + 1], dfids[#dfids + 1] = flow, dfid
    end
  end
  return flows, dfids
end

-- The totals with the flows in them, given those without what they held before; or nil, and the
-- number of the first flow with which one is too large.
local function add_up(flows, rests)
  local totals, limit_high, limit_low = {}, split(most)
  for number, flow in ipairs(flows) do
    for _, resource_id in ipairs(flow.ids) do
      local total = totals[resource_id] or rests[resource_id]
        or redis.call('HGET', locks[TOTALS], resource_id)
      local high, low = split_stored(total, locks.before + TOTALS)
      high, low = plus(high, low, split(flow.units[resource_id]))
      if exceeds(high, low, limit_high, limit_low) then
        return nil, number
      end
      totals[resource_id] = join(high, low)
    end
  end
  return totals
end

return once(function()
  check_locks(locks)
  local flows, dfids = read_flows(server_time())
  local plan = plan_release(locks, dfids)
  local totals, refused = add_up(flows, plan.rests)
  if not totals then
    return 'OVERFLOW ' .. dfids[refused]
  end
  release(locks, plan)
  local sums, members, leases = {}, {}, {}
  for resource_id, total in pairs(totals) do
    append(sums, { resource_id, total })
  end
  for number, flow in ipairs(flows) do
    for _, resource_id in ipairs(flow.ids) do
      append(members, { 0, member_of(resource_id, dfids[number]) })
    end
    if flow.ends ~= '0' then
      append(leases, { flow.ends, dfids[number] })
    end
    store_flow(locks, dfids[number], flow)
  end
  write_fields('ZADD', locks[HOLDERS], members)
  write_fields('ZADD', locks[LEASES], leases)
  write_fields('HSET', locks[TOTALS], sums)
  return 'DONE ' .. #flows
end)
