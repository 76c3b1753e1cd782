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

-- Calls HSET with field-value pairs, or HDEL with fields; an even CHUNK keeps pairs together.
local function write_fields(command, key, list)
  for from = 1, #list, CHUNK do
    redis.call(command, key, unpack(list, from, math.min(from + CHUNK - 1, #list)))
  end
end
