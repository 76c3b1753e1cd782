-- Who waits for room: first come, first served, for each resource.
--
-- A ticket is 16 digits, and the lowest goes first. Stored under it, a waiter is
-- "<length>:<wake key><length>:<dfid>", then for each resource " <units> <capacity>
-- <length>:<resource_id>"; the capacity is the one that came with the call, or "-".
--
-- The wake key is a list of the waiter's own, in the slot of the other keys. It is the only key
-- that scripts write without having it in KEYS: who is to be woken is known only here. Should that
-- fail, the waiter looks again within a second all the same.
local LOOK_AGAIN_US = 1000000
local WAKE_KEPT_MS = 10000
-- A waiter that looks counts as dead 3 s later at most. If one is to live for much longer than that,
-- the server's clock went back since it looked; a living one queues anew when it looks again.
local LATEST_DEATH_US = 3000000 + LOOK_AGAIN_US
-- So many waiters are judged at once, until they have so many resources together; the others look
-- again by themselves within a second.
local JUDGED_AT_ONCE = 32
local RESOURCES_JUDGED_AT_ONCE = 2000

local function store_waiter(locks, ticket, wake_key, dfid, request)
  local parts = { with_length(wake_key) .. with_length(dfid) }
  local members = {}
  for i, resource_id in ipairs(request.ids) do
    local brought = request.brought[i] == '' and '-' or request.brought[i]
    parts[#parts + 1] = request.units[i] .. ' ' .. brought .. ' ' .. with_length(resource_id)
    members[#members + 1] = 0
    members[#members + 1] = member_of(resource_id, ticket)
  end
  redis.call('HSET', locks[WAITERS], ticket, table.concat(parts, ' '))
  write_fields('ZADD', locks[QUEUE], members)
end

-- The request of a waiter, with its dfid and its wake key, as it was read from KEYS[position].
local function parse_waiter(text, position)
  text = text or ''
  local waiter = { ids = {}, units = {}, brought = {} }
  local last = 0
  local function take(pattern)
    local _, head, length, units, brought = string.find(text, pattern, last + 1)
    if not head or head + length > #text then
      error('DIRCORRUPT ' .. position)
    end
    last = head + length
    return string.sub(text, head + 1, last), units, brought
  end
  waiter.wake_key = take('^(%d+):')
  waiter.dfid = take('^(%d+):')
  while last < #text do
    local i = #waiter.ids + 1
    local _, _, units, brought = string.find(text, '^ (%d+) ([%d-]+) ', last + 1)
    if not units then
      error('DIRCORRUPT ' .. position)
    end
    waiter.units[i], waiter.brought[i] = units, brought == '-' and '' or brought
    waiter.ids[i] = take('^ %d+ [%d-]+ (%d+):')
  end
  return waiter
end

local function read_waiter(locks, ticket)
  return parse_waiter(redis.call('HGET', locks[WAITERS], ticket), locks.before + WAITERS)
end

-- The waiters that are dead, but for the one that is here, and whether there may be more.
local function find_dead(locks, now, own_ticket, limit)
  local dead = {}
  if not locks.crowded then
    return dead, false
  end
  local latest = '(' .. as_digits(now + LATEST_DEATH_US)
  local overdue =
    redis.call('ZRANGEBYSCORE', locks[WAITING], '-inf', as_digits(now), 'LIMIT', 0, limit)
  local misdated = redis.call('ZRANGEBYSCORE', locks[WAITING], latest, '+inf', 'LIMIT', 0, limit)
  for _, tickets in ipairs({ overdue, misdated }) do
    for _, ticket in ipairs(tickets) do
      if ticket ~= own_ticket then
        dead[#dead + 1] = ticket
      end
    end
  end
  return dead, #overdue == limit or #misdated == limit
end

-- Where in the queue tickets stand whose records do not say: its members, and their resources. It
-- looks at the whole queue.
local function places_of(locks, tickets)
  local members, resource_ids, wanted = {}, {}, {}
  for _, ticket in ipairs(tickets) do
    wanted[ticket] = true
  end
  local size = #tickets > 0 and redis.call('ZCARD', locks[QUEUE]) or 0
  for first = 0, size - 1, CHUNK do
    for _, member in ipairs(redis.call('ZRANGE', locks[QUEUE], first, first + CHUNK - 1)) do
      if wanted[string.sub(member, -16)] then
        members[#members + 1] = member
        resource_ids[#resource_ids + 1] = string.match(member, '^%d+:(.*):%d+$')
      end
    end
  end
  return members, resource_ids
end

-- The first ticket for a resource, or nil.
local function first_in_line(locks, resource_id)
  local first = members_of(locks[QUEUE], resource_id, 1)[1]
  return first and string.sub(first, -16)
end

-- The number of the first resource at which granting a request would overtake another one, nil if
-- there is none. ticket: its own, or nil. What asks for no more of anything than the flow holds
-- takes nothing from those who wait.
local function first_overtaken(locks, flow, request, ticket)
  if not locks.crowded then
    return nil
  end
  local asks_for_more = false
  for i, resource_id in ipairs(request.ids) do
    local high, low = split(request.units[i])
    if exceeds(high, low, split(flow.units[resource_id] or '0')) then
      asks_for_more = true
      break
    end
  end
  for i, resource_id in ipairs(asks_for_more and request.ids or {}) do
    local first = first_in_line(locks, resource_id)
    if first and not (ticket and tonumber(ticket) <= tonumber(first)) then
      return i
    end
  end
  return nil
end

-- Takes a waiter out of the queue.
local function leave_queue_of(locks, ticket, request)
  local members = {}
  for i, resource_id in ipairs(request.ids) do
    members[i] = member_of(resource_id, ticket)
  end
  redis.call('HDEL', locks[WAITERS], ticket)
  redis.call('ZREM', locks[WAITING], ticket)
  write_fields('ZREM', locks[QUEUE], members)
end

-- When the next lease ends, or nil.
local function next_end(locks)
  return tonumber(redis.call('ZRANGE', locks[LEASES], 0, 0, 'WITHSCORES')[2])
end

-- Whether it is a waiter's turn: to be granted what it wants, or told that it is hopeless.
local function is_due(locks, ticket, waiter)
  local flow = read_flow(locks, waiter.dfid)
  local room = read_room(locks, flow, waiter)
  local refusal = judge(room, waiter)
  if refusal then
    return is_hopeless(refusal, room, waiter)
  end
  return not first_overtaken(locks, flow, waiter, ticket)
end

-- Wakes a waiter who is first in line for something, if it is its turn, or if anyway is true.
-- Returns for how many resources it waits.
local function wake_one(locks, ticket, anyway)
  local waiter = read_waiter(locks, ticket)
  local wake_key = waiter.wake_key
  if (anyway or is_due(locks, ticket, waiter)) and redis.call('EXISTS', wake_key) == 0 then
    redis.call('RPUSH', wake_key, '')
    redis.call('PEXPIRE', wake_key, WAKE_KEPT_MS)
  end
  return #waiter.ids
end

-- Wakes whose turn it is among those who are first in line for one of some resources, as far as it
-- can look at once; who is behind is woken when that one has gone. If a lease ends before the first
-- one looks again by itself, it has to know, and is woken anyway. To be called after all else was
-- written: it never fails.
local function wake(locks, resource_ids, now)
  if not locks.crowded or #resource_ids == 0 then
    return
  end
  local ends = next_end(locks)
  local ends_soon = ends ~= nil and ends - now < LOOK_AGAIN_US
  local seen, judged, resources = {}, 0, 0
  for _, resource_id in ipairs(resource_ids) do
    local ticket = first_in_line(locks, resource_id)
    if ticket and not seen[ticket] then
      seen[ticket] = true
      local done, size = pcall(wake_one, locks, ticket, ends_soon)
      judged, resources = judged + 1, resources + (done and size or 0)
      if judged >= JUDGED_AT_ONCE or resources >= RESOURCES_JUDGED_AT_ONCE then
        return
      end
    end
  end
end
