-- Reserves a flow's amounts of several resources, all or none: one check-and-set.
--
-- The rule is that of dir_redis.amounts.admit, in the same order. The cost grows with the batch,
-- not with the number of holders: each resource has a running total.
--
-- Uses: once, units, many
-- KEYS[1] -> {<namespace>:0}:lock_totals  hash, units held by all by resource_id
-- KEYS[2] -> {<namespace>:0}:lock_capacities  hash, units by resource_id
-- KEYS[3] -> {<namespace>:0}:lock_flow:<dfid>  hash, units held by resource_id
-- KEYS[4] -> {<namespace>:0}:op:<session>  string
-- ARGV[1] = number n of resources
-- ARGV[2..n+1] = resource ids, sorted
-- then n amounts, units
-- then n capacities that came with the call, units, or "" for none
-- then n amounts this caller was told others hold, units, or "" for none
-- ARGV[last-1] = the operation's number in its session
-- ARGV[last] = how long the session is kept, milliseconds
-- Reply: "ACQUIRED", or with nothing written "GROWN" (others hold more than the caller was
-- told), "SHORT <i> <capacity> <others>" (resource i does not fit), "OVERFLOW <i>" (its total
-- would exceed int64)
local totals_key, capacities_key, flow_key = KEYS[1], KEYS[2], KEYS[3]
local n = tonumber(ARGV[1])
local INT64_HIGH, INT64_LOW = 9223372036, 854775807

-- The lower of a declared capacity and one that came with the call; nil if there is neither.
local function lower(declared, brought)
  local high, low = split_stored(declared, 2)
  if not declared then
    return brought ~= '' and brought or nil
  end
  if brought ~= '' and exceeds(high, low, split(brought)) then
    return brought
  end
  return declared
end

return once(function()
  local totals = read_fields(totals_key, ARGV, 2, n + 1)
  local capacities = read_fields(capacities_key, ARGV, 2, n + 1)
  local held = read_fields(flow_key, ARGV, 2, n + 1)

  local others_high, others_low = {}, {}
  for i = 1, n do
    others_high[i], others_low[i] = held_by_others(totals[i], held[i], 3)
    local told = ARGV[1 + 3 * n + i]
    if told ~= '' and exceeds(others_high[i], others_low[i], split(told)) then
      return 'GROWN'
    end
  end

  local new_totals = {}
  for i = 1, n do
    local high, low = plus(others_high[i], others_low[i], split(ARGV[1 + n + i]))
    local limit = lower(capacities[i], ARGV[1 + 2 * n + i])
    if limit and exceeds(high, low, split(limit)) then
      return string.format('SHORT %d %s %s', i, limit, join(others_high[i], others_low[i]))
    end
    if exceeds(high, low, INT64_HIGH, INT64_LOW) then
      return string.format('OVERFLOW %d', i)
    end
    new_totals[i] = join(high, low)
  end

  local set_totals, drop_totals, set_held, drop_held = {}, {}, {}, {}
  for i = 1, n do
    local resource_id = ARGV[1 + i]
    note_amount(set_totals, drop_totals, resource_id, new_totals[i])
    note_amount(set_held, drop_held, resource_id, ARGV[1 + n + i])
  end
  write_fields('HSET', totals_key, set_totals)
  write_fields('HDEL', totals_key, drop_totals)
  write_fields('HSET', flow_key, set_held)
  write_fields('HDEL', flow_key, drop_held)
  return 'ACQUIRED'
end)
