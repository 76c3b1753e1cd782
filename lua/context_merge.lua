-- Merges top-level keys into a session's or a state's document, as a new version.
--
-- Each key has a field of its own, so that no JSON is parsed here and the cost is that of the update;
-- whoever reads puts them together. A session that was to end is kept again.
--
-- Uses: once, clock, version, many
-- KEYS[1] -> {<namespace>:<partition>}:session:<dfid> or :state:<agent_id>  hash
-- KEYS[2] -> {<namespace>:<partition>}:op:<session>  string
-- ARGV[1..] = field, value, ... of the record: '+' and the key, and the JSON text of its value
-- ARGV[last-1] = the operation's number in its session
-- ARGV[last] = how long the session is kept, milliseconds
-- Reply: the new version; "REFUSED <character>" with what the document begins with, if it is no object
local context_key = KEYS[1]

return once(function()
  stored_version(context_key)
  local data = redis.call('HGET', context_key, 'data')
  if data then
    local first = string.match(data, '^[ \t\r\n]*(.)')
    if not first or not string.find(first, '[%[{"tfnNI%-%d]') then
      error('DIRCORRUPT 1')
    end
    if first ~= '{' then
      return 'REFUSED ' .. first
    end
  elseif redis.call('EXISTS', context_key) == 1 then
    error('DIRCORRUPT 1')
  end
  local version = redis.call('HINCRBY', context_key, 'version', 1)
  if not data then
    redis.call('HSET', context_key, 'data', '{}')
  end
  write_fields('HSET', context_key, ARGV, 1, #ARGV - 2)
  redis.call('PERSIST', context_key)
  return as_digits(version)
end)
