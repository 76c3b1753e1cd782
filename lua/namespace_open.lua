-- Fixes what a namespace is made with when it is first used, and tells it to everyone after.
--
-- KEYS[1] -> {<namespace>:0}:meta  hash
-- ARGV[1] = schema version
-- ARGV[2] = partition count
-- ARGV[3] = decimal places of amounts
-- Reply: {schema version, partition count, decimal places} as stored, strings
local meta_key = KEYS[1]
local schema, partitions, places = ARGV[1], ARGV[2], ARGV[3]

if redis.call('EXISTS', meta_key) == 0 then
  redis.call('HSET', meta_key, 'schema', schema, 'partitions', partitions, 'amount_places', places)
end
return redis.call('HMGET', meta_key, 'schema', 'partitions', 'amount_places')
