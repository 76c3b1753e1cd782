-- Changing reservations: all is read and checked first, and then written.
--
-- So much is swept up at once: this many leases and waiters, and of them only as many as have this
-- many resources together, but at least one.
local SWEPT_AT_ONCE = 100
local RESOURCES_AT_ONCE = 1000

-- Fails on a key of another type, before anything is written.
local function check_locks(locks)
  redis.call('HLEN', locks[TOTALS])
  redis.call('HLEN', locks[FLOWS])
  redis.call('ZCARD', locks[LEASES])
  redis.call('ZCARD', locks[HOLDERS])
  redis.call('HLEN', locks[CAPACITIES])
  redis.call('ZCARD', locks[QUEUE])
  redis.call('HLEN', locks[WAITERS])
  locks.crowded = redis.call('ZCARD', locks[WAITING]) > 0
  redis.call('STRLEN', locks[COUNTER])
end

-- What there is to write when flows are released, as yet of no flow. release() writes it, and then
-- wake() is due for its resource ids.
local function empty_plan()
  return { dfids = {}, leased = {}, ids = {}, members = {}, rests = {} }
end

-- Adds a flow to a plan. It only computes: it raises if the totals are corrupt, and then the plan
-- is as before.
local function plan_flow(locks, plan, dfid, flow, totals)
  local rests = {}
  for i, resource_id in ipairs(flow.ids) do
    local total = plan.rests[resource_id] or totals[i]
    rests[i] = join(without(total, locks.before + TOTALS, split(flow.units[resource_id])))
  end
  plan.dfids[#plan.dfids + 1] = dfid
  if flow.ends ~= '0' then
    plan.leased[#plan.leased + 1] = dfid
  end
  for i, resource_id in ipairs(flow.ids) do
    if not plan.rests[resource_id] then
      plan.ids[#plan.ids + 1] = resource_id
    end
    plan.rests[resource_id] = rests[i]
    plan.members[#plan.members + 1] = member_of(resource_id, dfid)
  end
end

local function plan_release(locks, dfids)
  local plan = empty_plan()
  for _, dfid in ipairs(dfids) do
    local flow = read_flow(locks, dfid)
    plan_flow(locks, plan, dfid, flow, read_fields(locks[TOTALS], flow.ids, 1, #flow.ids))
  end
  return plan
end

-- A server that is out of memory looks at a script's first write: one that frees is let through. It
-- is also the first to touch the holders: should they be of another type, nothing was written.
local function release(locks, plan)
  local set_totals, drop_totals = {}, {}
  for _, resource_id in ipairs(plan.ids) do
    note_amount(set_totals, drop_totals, resource_id, plan.rests[resource_id])
  end
  write_fields('ZREM', locks[HOLDERS], plan.members)
  write_fields('HDEL', locks[FLOWS], plan.dfids)
  write_fields('ZREM', locks[LEASES], plan.leased)
  write_fields('HDEL', locks[TOTALS], drop_totals)
  write_fields('HSET', locks[TOTALS], set_totals)
end

-- Sets what a flow holds of some resources; returns those of which that is less than before.
local function hold(locks, dfid, flow, ids, units, new_totals, now)
  local set_totals, drop_totals, joining, leaving, lowered = {}, {}, {}, {}, {}
  for i, resource_id in ipairs(ids) do
    note_amount(set_totals, drop_totals, resource_id, new_totals[i])
    local held = flow.units[resource_id]
    if held then
      local high, low = split(held)
      if exceeds(high, low, split(units[i])) then
        lowered[#lowered + 1] = resource_id
      end
      if units[i] == '0' then
        leaving[#leaving + 1] = member_of(resource_id, dfid)
      end
    elseif units[i] ~= '0' then
      flow.ids[#flow.ids + 1] = resource_id
      flow.since[resource_id] = as_digits(now)
      joining[#joining + 1] = 0
      joining[#joining + 1] = member_of(resource_id, dfid)
    end
    flow.units[resource_id] = units[i]
  end
  -- First the holders, whose type was not looked at before.
  write_fields('ZREM', locks[HOLDERS], leaving)
  write_fields('ZADD', locks[HOLDERS], joining)
  write_fields('HDEL', locks[TOTALS], drop_totals)
  write_fields('HSET', locks[TOTALS], set_totals)
  store_flow(locks, dfid, flow)
  return lowered
end

-- Ends leases that ran out and drops waiters that are dead, so many at once, but not the one that
-- is here. Returns the resources of all of them, and whether there may be more.
--
-- Of what is corrupt only the lease or the place in the queue ends: the record stays for whoever
-- looks, and what it holds stays counted. Nobody else is to suffer from it.
--
-- Every script begins with it: it checks the types of the leases and, where anybody waits, of all.
local function sweep(locks, now, own_ticket)
  local dfids =
    redis.call('ZRANGEBYSCORE', locks[LEASES], '-inf', as_digits(now), 'LIMIT', 0, SWEPT_AT_ONCE)
  locks.crowded = redis.call('ZCARD', locks[WAITING]) > 0
  if #dfids == 0 and not locks.crowded then
    return {}, false
  end
  check_locks(locks)
  local tickets, more = find_dead(locks, now, own_ticket, SWEPT_AT_ONCE)
  more = more or #dfids == SWEPT_AT_ONCE

  local left, taken = RESOURCES_AT_ONCE, 0
  local function take(size)
    if taken > 0 and size > left then
      more = true
      return false
    end
    left, taken = left - size, taken + 1
    return true
  end
  local plan, ended = empty_plan(), {}
  for _, dfid in ipairs(dfids) do
    local text = redis.call('HGET', locks[FLOWS], dfid)
    local readable, flow = pcall(parse_flow, text, locks.before + FLOWS)
    if not take(readable and #flow.ids or 0) then
      break
    end
    if readable then
      local totals = read_fields(locks[TOTALS], flow.ids, 1, #flow.ids)
      pcall(plan_flow, locks, plan, dfid, flow, totals)
    end
    ended[#ended + 1] = dfid
  end
  local dead, garbled = {}, {}
  for _, ticket in ipairs(tickets) do
    local text = redis.call('HGET', locks[WAITERS], ticket)
    local readable, waiter = pcall(parse_waiter, text, locks.before + WAITERS)
    if not take(readable and #waiter.ids or 0) then
      break
    end
    if readable then
      dead[ticket] = waiter
    else
      garbled[#garbled + 1] = ticket
    end
  end
  local members, touched = places_of(locks, garbled)

  plan.leased = ended -- also a flow that lost its record, or whose record is corrupt
  release(locks, plan)
  append(touched, plan.ids)
  for ticket, waiter in pairs(dead) do
    leave_queue_of(locks, ticket, waiter)
    append(touched, waiter.ids)
  end
  write_fields('ZREM', locks[WAITING], garbled)
  write_fields('ZREM', locks[QUEUE], members)
  return touched, more
end

-- Above 2^53 - 1 two numbers in a row may be the same to Lua.
local LARGEST_NUMBER = 9007199254740991

-- The next token or ticket: it rises also if the last one was lost, being at least the time.
local function next_number(locks, now)
  local last = redis.call('GET', locks[COUNTER]) or '0'
  if not string.find(last, '^%d+$') or tonumber(last) >= LARGEST_NUMBER then
    error('DIRCORRUPT ' .. locks.before + COUNTER)
  end
  return as_digits(math.max(tonumber(last) + 1, now))
end
