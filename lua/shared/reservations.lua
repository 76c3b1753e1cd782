-- Reservations: what each flow holds, as one text, and the keys that go with it.
--
-- locks is a list of nine keys, in the order below, with how many KEYS come before them (before)
-- and whether anybody waits for room (crowded, which sweep() or check_locks() find out). A flow is
-- "<token> <end>", then for each resource " <units> <since> <length>:<resource_id>": the token is
-- 0 if it only ever acquired, the end 0 without a lease, moments are in microseconds. An id may
-- hold anything; its length in bytes says where it ends.
local TOTALS, FLOWS, LEASES, HOLDERS, CAPACITIES = 1, 2, 3, 4, 5
local QUEUE, WAITERS, WAITING, COUNTER = 6, 7, 8, 9

-- An id behind its length.
local function with_length(id)
  return #id .. ':' .. id
end

-- A flow as it was read from KEYS[position]; false is one that holds nothing.
local function parse_flow(text, position)
  local flow = { token = '0', ends = '0', ids = {}, units = {}, since = {} }
  if not text then
    return flow
  end
  local _, last, token, ends = string.find(text, '^(%d+) (%d+)')
  if not last then
    error('DIRCORRUPT ' .. position)
  end
  flow.token, flow.ends = token, ends
  while last < #text do
    local _, head, units, since, length = string.find(text, '^ (%d+) (%d+) (%d+):', last + 1)
    if not head or head + length > #text then
      error('DIRCORRUPT ' .. position)
    end
    last = head + length
    local resource_id = string.sub(text, head + 1, last)
    flow.ids[#flow.ids + 1] = resource_id
    flow.units[resource_id], flow.since[resource_id] = units, since
  end
  return flow
end

local function read_flow(locks, dfid)
  return parse_flow(redis.call('HGET', locks[FLOWS], dfid), locks.before + FLOWS)
end

-- Stores a flow; one that holds nothing and has no token leaves no trace.
local function store_flow(locks, dfid, flow)
  local parts = { flow.token .. ' ' .. flow.ends }
  for _, resource_id in ipairs(flow.ids) do
    local units = flow.units[resource_id]
    if units ~= '0' then
      parts[#parts + 1] = units .. ' ' .. flow.since[resource_id] .. ' ' .. with_length(resource_id)
    end
  end
  if #parts == 1 and flow.token == '0' then
    redis.call('HDEL', locks[FLOWS], dfid)
  else
    redis.call('HSET', locks[FLOWS], dfid, table.concat(parts, ' '))
  end
end

-- What stands for a holder or a waiter of a resource in a sorted set whose scores are all 0.
local function member_of(resource_id, who)
  return with_length(resource_id) .. ':' .. who
end

-- The members of one resource, in order.
local function members_of(sorted_set_key, resource_id, limit)
  local before = with_length(resource_id)
  -- ';' comes right after ':'.
  local from, to = '[' .. before .. ':', '(' .. before .. ';'
  return redis.call('ZRANGEBYLEX', sorted_set_key, from, to, 'LIMIT', 0, limit)
end

-- Whether a token is that of a flow's reservation; one that only acquired has none.
local function has_token(flow, token)
  return flow.token ~= '0' and flow.token == token
end
