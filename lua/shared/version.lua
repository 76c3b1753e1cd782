-- The version that counts the writes of a record in KEYS[1], in a field of its own.

-- The version, digits; or false if the record has none. Fails on a key of another type.
local function stored_version(record_key)
  local version = redis.call('HGET', record_key, 'version')
  -- More digits than a counter ever has would make HINCRBY fail, when something is written already.
  if version and (#version > 18 or not string.find(version, '^%d+$')) then
    error('DIRCORRUPT 1')
  end
  return version
end

-- The reply to a caller who expects another version than there is; nothing if it is the one.
local function version_conflict(version, expected)
  if expected ~= '' and expected ~= version then
    return 'CONFLICT ' .. version
  end
end
