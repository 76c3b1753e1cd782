-- Reads the totals of some resources and what each flow holds of them, at one moment.
--
-- A flow that holds several of them is parsed once.
--
-- Uses: reservations
-- KEYS[1] -> {<namespace>:0}:lock_totals  hash, units by resource_id
-- KEYS[2] -> {<namespace>:0}:lock_holders  sorted set, resource_id and dfid
-- KEYS[3] -> {<namespace>:0}:lock_flows  hash, what each flow holds by dfid
-- ARGV[1] = after how many bytes and holders, together, no further resource is read
-- ARGV[2..] = per resource its resource_id, how many flows are to be looked at besides those listed
-- as holders, and those
-- Reply: per resource {the total or "", how many of the flows cannot be read, units of a flow, ...}, of
-- the first resources, at least one
local totals_key, holders_key, flows_key = KEYS[1], KEYS[2], KEYS[3]
local most = tonumber(ARGV[1])
local position = 2

local flows, work = {}, 0
local function units_of(dfid)
  if flows[dfid] == nil then
    local text = redis.call('HGET', flows_key, dfid)
    local readable, flow = pcall(parse_flow, text, 3)
    flows[dfid] = readable and flow.units
    work = work + (text and #text or 0)
  end
  return flows[dfid]
end

local function read(resource_id, first, last)
  local found, seen = { redis.call('HGET', totals_key, resource_id) or '', 0 }, {}
  local function look_at(dfid)
    if seen[dfid] then
      return
    end
    seen[dfid] = true
    work = work + 1
    local units = units_of(dfid)
    if not units then
      found[2] = found[2] + 1
    elseif units[resource_id] then
      found[#found + 1] = units[resource_id]
    end
  end
  for _, member in ipairs(members_of(holders_key, resource_id, -1)) do
    look_at(string.sub(member, #member_of(resource_id, '') + 1))
  end
  for place = first, last do
    look_at(ARGV[place])
  end
  return found
end

local reply = {}
while position <= #ARGV and (work <= most or #reply == 0) do
  local last = position + 1 + tonumber(ARGV[position + 1])
  reply[#reply + 1] = read(ARGV[position], position + 2, last)
  position = last + 1
end
return reply
