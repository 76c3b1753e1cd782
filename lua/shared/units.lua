-- Exact arithmetic on amounts of up to 19 digits, which Lua's doubles cannot hold.
--
-- An amount is split into its thousand millions (high) and the nine digits below (low).
local BASE = 1000000000

local function split(digits)
  if #digits <= 9 then
    return 0, tonumber(digits)
  end
  return tonumber(string.sub(digits, 1, -10)), tonumber(string.sub(digits, -9))
end

-- The same of what was read from KEYS[position]: false, for none, counts as 0.
local function split_stored(digits, position)
  if not digits then
    return 0, 0
  end
  if not string.find(digits, '^%d+$') then
    error('DIRCORRUPT ' .. position)
  end
  return split(digits)
end

local function join(high, low)
  if high == 0 then
    return string.format('%d', low)
  end
  return string.format('%d%09d', high, low)
end

local function plus(high, low, more_high, more_low)
  local sum = low + more_low
  if sum >= BASE then
    return high + more_high + 1, sum - BASE
  end
  return high + more_high, sum
end

local function minus(high, low, less_high, less_low)
  if low < less_low then
    return high - less_high - 1, low + BASE - less_low
  end
  return high - less_high, low - less_low
end

local function exceeds(high, low, limit_high, limit_low)
  return high > limit_high or (high == limit_high and low > limit_low)
end

-- A total read from KEYS[position] without a part of it.
local function without(total, position, part_high, part_low)
  local high, low = split_stored(total, position)
  if exceeds(part_high, part_low, high, low) then
    error('DIRCORRUPT ' .. position)
  end
  return minus(high, low, part_high, part_low)
end

-- Notes a field's new amount among those to set or, as 0 leaves no trace, those to drop.
local function note_amount(to_set, to_drop, field, amount)
  if amount == '0' then
    to_drop[#to_drop + 1] = field
  else
    to_set[#to_set + 1] = field
    to_set[#to_set + 1] = amount
  end
end
