-- Finds all keys of a pattern on a server, or all fields of a hash or members of a sorted set, page by
-- page, for copying and verifying.
--
-- It is the only script that looks through a whole server. What is there from beginning to end is
-- found at least once. A place in the scan means something to one process alone, so the reply says
-- which one has answered; it is unknown where INFO is not allowed.
--
-- KEYS[1] -> any key of a server, of any type; without a pattern the hash or sorted set
-- ARGV[1] = the place to go on from; "0" to begin
-- ARGV[2] = pattern of the keys; empty for what is at the key
-- ARGV[3] = about how many to look at
-- Reply: {run id of the server's process or "", place to go on from, key, field or member, ...}; the place is
-- "0" at the end
local any_key = KEYS[1]
local cursor, pattern, count = ARGV[1], ARGV[2], ARGV[3]

local about = redis.pcall('INFO', 'server')
local reply = { type(about) == 'string' and string.match(about, 'run_id:(%x+)') or '' }
local step, page = 1, nil
if pattern == '' then
  local command = redis.call('TYPE', any_key).ok == 'zset' and 'ZSCAN' or 'HSCAN'
  page = redis.call(command, any_key, cursor, 'COUNT', count)
  step = 2 -- each field is followed by its value, each member by its score
else
  page = redis.call('SCAN', cursor, 'MATCH', pattern, 'COUNT', count)
end
reply[2] = page[1]
for position = 1, #page[2], step do
  reply[#reply + 1] = page[2][position]
end
return reply
