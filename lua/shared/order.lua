-- The order of entry ids, <milliseconds>-<sequence>, compared as the digits they are: a double
-- does not hold every id there may be. An empty id is before all.

local function greater(digits, other)
  if #digits ~= #other then
    return #digits > #other
  end
  return digits > other
end

local function is_later(id, other)
  if id == '' or other == '' then
    return id ~= other and other == ''
  end
  local milliseconds, sequence = string.match(id, '^(%d+)%-(%d+)$')
  local other_milliseconds, other_sequence = string.match(other, '^(%d+)%-(%d+)$')
  if milliseconds == other_milliseconds then
    return greater(sequence, other_sequence)
  end
  return greater(milliseconds, other_milliseconds)
end

-- Whether an id is ahead of a log, which cannot have such an entry yet: committed as archived it
-- would let rows go that nobody has archived. The log's last entry may have been lost in a
-- failover, so the time counts too.
local function is_ahead(log_key, id)
  local time = redis.call('TIME')
  local now = string.format('%s%03d-999999', time[1], math.floor(tonumber(time[2]) / 1000))
  local last = redis.call('XREVRANGE', log_key, '+', '-', 'COUNT', 1)[1]
  return is_later(id, now) and is_later(id, last and last[1] or '')
end

-- Whether something stored is an id, or empty.
local function is_id(text)
  return text == '' or string.find(text, '^%d+%-%d+$') ~= nil
end
