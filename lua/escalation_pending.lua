-- Reads the requests that wait for a human, oldest first.
--
-- Uses: many, clock
-- KEYS[1] -> {<namespace>:0}:requests_pending  sorted set, dfid by time of the request
-- KEYS[2] -> {<namespace>:0}:requests_open  hash, request as JSON by dfid
-- KEYS[3] -> {<namespace>:0}:requests_deadlines  sorted set, dfid by deadline
-- Reply: {dfid, ...}, {request as JSON, ...} in the same order
local pending_key, open_key, deadlines_key = KEYS[1], KEYS[2], KEYS[3]

local now = as_digits(server_time())
local overdue = {}
for _, dfid in ipairs(redis.call('ZRANGEBYSCORE', deadlines_key, '-inf', now)) do
  overdue[dfid] = true
end
local dfids = {}
for _, dfid in ipairs(redis.call('ZRANGE', pending_key, 0, -1)) do
  if not overdue[dfid] then
    dfids[#dfids + 1] = dfid
  end
end
return { dfids, read_fields(open_key, dfids, 1, #dfids) }
