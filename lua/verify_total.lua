-- Reads the total of a resource and what each flow holds of it, at one moment.
--
-- Uses: reservations
-- KEYS[1] -> {<namespace>:0}:lock_totals  hash, units by resource_id
-- KEYS[2] -> {<namespace>:0}:lock_holders  sorted set, resource_id and dfid
-- KEYS[3] -> {<namespace>:0}:lock_flows  hash, what each flow holds by dfid
-- ARGV[1] = resource_id
-- ARGV[2..] = flows that are to be looked at besides those listed as holders
-- Reply: {the total or "", how many of the flows cannot be read, units of a flow, ...}
local totals_key, holders_key, flows_key = KEYS[1], KEYS[2], KEYS[3]
local resource_id = ARGV[1]

local reply = { redis.call('HGET', totals_key, resource_id) or '', 0 }
local seen = {}
local function look_at(dfid)
  if seen[dfid] then
    return
  end
  seen[dfid] = true
  local readable, flow = pcall(parse_flow, redis.call('HGET', flows_key, dfid), 3)
  if not readable then
    reply[2] = reply[2] + 1
  elseif flow.units[resource_id] then
    reply[#reply + 1] = flow.units[resource_id]
  end
end
for _, member in ipairs(members_of(holders_key, resource_id, -1)) do
  look_at(string.sub(member, #member_of(resource_id, '') + 1))
end
for position = 2, #ARGV do
  look_at(ARGV[position])
end
return reply
