-- Whether a request for resources fits: the rule of dir_redis.amounts.admit, in the same order.
--
-- A request has lists of its resource ids, sorted, of the units of each, and of the capacities
-- that came with the call, '' for none.
local INT64_HIGH, INT64_LOW = 9223372036, 854775807

-- The lower of a declared capacity and one that came with the call; nil if there is neither.
local function lower_capacity(declared, position, brought)
  local high, low = split_stored(declared, position)
  if not declared then
    return brought ~= '' and brought or nil
  end
  if brought ~= '' and exceeds(high, low, split(brought)) then
    return brought
  end
  return declared
end

-- What others than a flow hold of each resource of its request, and the limits.
local function read_room(locks, flow, request)
  local ids = request.ids
  local totals = read_fields(locks[TOTALS], ids, 1, #ids)
  local capacities = read_fields(locks[CAPACITIES], ids, 1, #ids)
  local room = { high = {}, low = {}, limits = {} }
  for i, resource_id in ipairs(ids) do
    local held_high, held_low = split(flow.units[resource_id] or '0')
    room.high[i], room.low[i] = without(totals[i], locks.before + TOTALS, held_high, held_low)
    room.limits[i] =
      lower_capacity(capacities[i], locks.before + CAPACITIES, request.brought[i])
  end
  return room
end

-- Why a request does not fit: "SHORT <i> <capacity> <others>" (resource i exceeds its capacity) or
-- "OVERFLOW <i>" (its total would exceed int64); or nil, and the new totals.
local function judge(room, request)
  local new_totals = {}
  for i = 1, #request.ids do
    local others_high, others_low, limit = room.high[i], room.low[i], room.limits[i]
    local high, low = plus(others_high, others_low, split(request.units[i]))
    if limit and exceeds(high, low, split(limit)) then
      return string.format('SHORT %d %s %s', i, limit, join(others_high, others_low))
    end
    if exceeds(high, low, INT64_HIGH, INT64_LOW) then
      return string.format('OVERFLOW %d', i)
    end
    new_totals[i] = join(high, low)
  end
  return nil, new_totals
end

-- Whether a request that does not fit never will: it exceeds a capacity by itself, or int64.
local function is_hopeless(refusal, room, request)
  for i = 1, #request.ids do
    local high, low = split(request.units[i])
    if room.limits[i] and exceeds(high, low, split(room.limits[i])) then
      return true
    end
  end
  return string.sub(refusal, 1, 5) ~= 'SHORT'
end
