-- Hash reads and writes of any number of fields; unpack takes only some thousands at once.
local CHUNK = 1000

-- The values of the fields list[first] to list[last], in order; false where there is none.
local function read_fields(key, list, first, last)
  if first > last then
    return {}
  end
  if last - first < CHUNK then
    return redis.call('HMGET', key, unpack(list, first, last))
  end
  local values = {}
  for from = first, last, CHUNK do
    local chunk = redis.call('HMGET', key, unpack(list, from, math.min(from + CHUNK - 1, last)))
    for position = 1, #chunk do
      values[#values + 1] = chunk[position]
    end
  end
  return values
end

-- Calls HSET with field-value pairs, or HDEL with fields, list[first] to list[last] (by default all);
-- an even CHUNK keeps pairs together.
local function write_fields(command, key, list, first, last)
  last = last or #list
  for from = first or 1, last, CHUNK do
    redis.call(command, key, unpack(list, from, math.min(from + CHUNK - 1, last)))
  end
end

-- list[first] to list[last] as a list of its own.
local function slice(list, first, last)
  local part = {}
  for position = first, last do
    part[#part + 1] = list[position]
  end
  return part
end

local function append(list, more)
  for _, value in ipairs(more) do
    list[#list + 1] = value
  end
end
