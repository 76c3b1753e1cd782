-- Replaces a session's or a state's document, and all that was merged into it, as a new version.
--
-- A session that was to end is kept again.
--
-- Uses: once, version, many
-- KEYS[1] -> {<namespace>:<partition>}:session:<dfid> or :state:<agent_id>  hash
-- KEYS[2] -> {<namespace>:<partition>}:op:<session>  string
-- ARGV[1] = the version it must have, 0 for none; empty for any
-- ARGV[2..] = field, value, ... of the record
-- ARGV[last-1] = the operation's number in its session
-- ARGV[last] = how long the session is kept, milliseconds
-- Reply: "OK", or "CONFLICT <version>" with the version it has, 0 for none
local context_key = KEYS[1]
local expected = ARGV[1]

return once(function()
  local refused = version_conflict(stored_version(context_key) or '0', expected)
  if refused then
    return refused
  end
  local merged = {}
  for _, field in ipairs(redis.call('HKEYS', context_key)) do
    if string.sub(field, 1, 1) == '+' then
      merged[#merged + 1] = field
    end
  end
  redis.call('HINCRBY', context_key, 'version', 1)
  write_fields('HDEL', context_key, merged, 1, #merged)
  redis.call('HSET', context_key, unpack(ARGV, 2, #ARGV - 2))
  redis.call('PERSIST', context_key)
  return 'OK'
end)
