-- Fixes what a namespace is made with when it is first used; leaves one that there is as it is.
--
-- Schema 2 keeps reservations otherwise than schema 1, and what may be claimed in sorted sets of
-- its own. A namespace of schema 1 is brought over if it has one partition and nothing is held.
--
-- Uses: once
-- KEYS[1] -> {<namespace>:0}:meta  hash
-- KEYS[2] -> {<namespace>:0}:lock_totals  hash, units held by all by resource_id
-- KEYS[3] -> {<namespace>:0}:sagas_dirty  sorted set, dfid by time of the mark
-- KEYS[4] -> {<namespace>:0}:sagas_due  sorted set, dfid by when it may be claimed
-- KEYS[5] -> {<namespace>:0}:requests_pending  sorted set, dfid by time of the request
-- KEYS[6] -> {<namespace>:0}:requests_unclaimed  sorted set, those without a reviewer
-- KEYS[7] -> {<namespace>:0}:op:<session>  string
-- ARGV[1] = schema version
-- ARGV[2] = partition count
-- ARGV[3] = decimal places of amounts
-- ARGV[4] = the operation's number in its session
-- ARGV[5] = how long the session is kept, milliseconds
-- Reply: "<schema version> <partition count> <decimal places>" as stored
local meta_key, totals_key = KEYS[1], KEYS[2]
local dirty_key, due_key, pending_key, unclaimed_key = KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local schema, partitions, places = ARGV[1], ARGV[2], ARGV[3]

return once(function()
  if redis.call('EXISTS', meta_key) == 0 then
    redis.call('HSET', meta_key, 'schema', schema, 'partitions', partitions, 'amount_places', places)
  end
  local stored = redis.call('HMGET', meta_key, 'schema', 'partitions', 'amount_places')
  local as_asked = partitions == stored[2] and places == stored[3]
  if stored[1] == '1' and schema == '2' and as_asked and partitions == '1'
    and redis.call('HLEN', totals_key) == 0 then
    redis.call('ZUNIONSTORE', due_key, 1, dirty_key)
    redis.call('ZUNIONSTORE', unclaimed_key, 1, pending_key)
    redis.call('HSET', meta_key, 'schema', schema)
    stored[1] = schema
  end
  return table.concat({ tostring(stored[1]), tostring(stored[2]), tostring(stored[3]) }, ' ')
end)
