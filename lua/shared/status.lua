-- Where a flow is: what its latest transition says.
local INITIAL_STATUS = 'CREATED'

-- The status, or nil for a flow without transitions; of the log in KEYS[1] and the list in KEYS[2].
local function latest_status(log_key, flow_key)
  local id = redis.call('LRANGE', flow_key, -1, -1)[1]
  redis.call('XLEN', log_key) -- a key of another type fails here, before anything is written
  if not id then
    return nil
  end
  local entry = string.find(id, '^%d+%-%d+$') and redis.call('XRANGE', log_key, id, id)[1]
  if not entry then
    error('DIRCORRUPT 2')
  end
  for position = 1, #entry[2], 2 do
    if entry[2][position] == 'to' then
      return entry[2][position + 1]
    end
  end
  error('DIRCORRUPT 1')
end

-- The reply to a caller who believed the flow to be elsewhere.
local function conflict(status)
  return status and 'CONFLICT ' .. status or 'CONFLICT'
end
