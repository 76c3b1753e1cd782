-- Reads the pending requests, oldest first.
--
-- Uses: many
-- KEYS[1] -> {<namespace>:<partition>}:requests_pending  sorted set, dfid by time of the request
-- KEYS[2] -> {<namespace>:<partition>}:requests_open  hash, request as JSON by dfid
-- Reply: {dfid, score, dfid, score, ...}, {request as JSON, ...} in the same order
local pending_key, open_key = KEYS[1], KEYS[2]

local ordered = redis.call('ZRANGE', pending_key, 0, -1, 'WITHSCORES')
local dfids = {}
for position = 1, #ordered, 2 do
  dfids[#dfids + 1] = ordered[position]
end
return { ordered, read_fields(open_key, dfids, 1, #dfids) }
