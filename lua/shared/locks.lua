-- Changing reservations: all is read and checked first, and then written.
local SWEPT_AT_ONCE = 100

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

-- What there is to write when flows are released; release() writes it, and then wake() is due for
-- its resource ids.
local function plan_release(locks, dfids)
  local texts = read_fields(locks[FLOWS], dfids, 1, #dfids)
  local plan = { dfids = dfids, leased = {}, ids = {}, members = {} }
  plan.set_totals, plan.drop_totals = {}, {}
  local high, low = {}, {}
  for position, dfid in ipairs(dfids) do
    local flow = parse_flow(texts[position], locks.before + FLOWS)
    if flow.ends ~= '0' then
      plan.leased[#plan.leased + 1] = dfid
    end
    for _, resource_id in ipairs(flow.ids) do
      if not high[resource_id] then
        plan.ids[#plan.ids + 1] = resource_id
        high[resource_id], low[resource_id] = 0, 0
      end
      high[resource_id], low[resource_id] =
        plus(high[resource_id], low[resource_id], split(flow.units[resource_id]))
      plan.members[#plan.members + 1] = member_of(resource_id, dfid)
    end
  end
  local totals = read_fields(locks[TOTALS], plan.ids, 1, #plan.ids)
  for i, resource_id in ipairs(plan.ids) do
    local rest = join(
      without(totals[i], locks.before + TOTALS, high[resource_id], low[resource_id])
    )
    note_amount(plan.set_totals, plan.drop_totals, resource_id, rest)
  end
  return plan
end

-- A server that is out of memory looks at a script's first write: one that frees is let through. It
-- is also the first to touch the holders: should they be of another type, nothing was written.
local function release(locks, plan)
  write_fields('ZREM', locks[HOLDERS], plan.members)
  write_fields('HDEL', locks[FLOWS], plan.dfids)
  write_fields('ZREM', locks[LEASES], plan.leased)
  write_fields('HDEL', locks[TOTALS], plan.drop_totals)
  write_fields('HSET', locks[TOTALS], plan.set_totals)
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

-- Ends leases that ran out and drops waiters that have not looked for long, so many at once, but
-- not the one that is here. Returns the resources of all of them, and whether there may be more.
--
-- Every script begins with it: it checks the types of the leases and, where anybody waits, of all.
local function sweep(locks, now, own_ticket)
  local moment = as_digits(now)
  local dfids =
    redis.call('ZRANGEBYSCORE', locks[LEASES], '-inf', moment, 'LIMIT', 0, SWEPT_AT_ONCE)
  locks.crowded = redis.call('ZCARD', locks[WAITING]) > 0
  if #dfids == 0 and not locks.crowded then
    return {}, false
  end
  check_locks(locks)
  local tickets =
    redis.call('ZRANGEBYSCORE', locks[WAITING], '-inf', moment, 'LIMIT', 0, SWEPT_AT_ONCE)
  local dead = {}
  for _, ticket in ipairs(tickets) do
    if ticket ~= own_ticket then
      dead[ticket] = read_waiter(locks, ticket)
    end
  end
  local plan = plan_release(locks, dfids)
  release(locks, plan)
  write_fields('ZREM', locks[LEASES], dfids) -- also of a flow that lost its record
  local touched = plan.ids
  for ticket, waiter in pairs(dead) do
    leave_queue_of(locks, ticket, waiter)
    append(touched, waiter.ids)
  end
  return touched, #dfids == SWEPT_AT_ONCE or #tickets == SWEPT_AT_ONCE
end

-- The next token or ticket: it rises also if the last one was lost, being at least the time.
local function next_number(locks, now)
  local last = redis.call('GET', locks[COUNTER]) or '0'
  if not string.find(last, '^%d+$') then
    error('DIRCORRUPT ' .. locks.before + COUNTER)
  end
  return as_digits(math.max(tonumber(last) + 1, now))
end
