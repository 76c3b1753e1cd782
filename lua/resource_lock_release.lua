-- Releases all that a flow holds.
--
-- Uses: once, units, many
-- KEYS[1] -> {<namespace>:0}:lock_totals  hash, units held by all by resource_id
-- KEYS[2] -> {<namespace>:0}:lock_flow:<dfid>  hash, units held by resource_id
-- KEYS[3] -> {<namespace>:0}:op:<session>  string
-- ARGV[1] = the operation's number in its session
-- ARGV[2] = how long the session is kept, milliseconds
-- Reply: "OK"
local totals_key, flow_key = KEYS[1], KEYS[2]

return once(function()
  local resource_ids = redis.call('HKEYS', flow_key)
  local held = read_fields(flow_key, resource_ids, 1, #resource_ids)
  local totals = read_fields(totals_key, resource_ids, 1, #resource_ids)

  local set_totals, drop_totals = {}, {}
  for i, resource_id in ipairs(resource_ids) do
    local held_high, held_low = split_stored(held[i], 2)
    local high, low = split_stored(totals[i], 1)
    if exceeds(held_high, held_low, high, low) then
      error('DIRCORRUPT 1')
    end
    local total = join(minus(high, low, held_high, held_low))
    if total == '0' then
      drop_totals[#drop_totals + 1] = resource_id
    else
      set_totals[#set_totals + 1] = resource_id
      set_totals[#set_totals + 1] = total
    end
  end
  -- A server that is out of memory looks at a script's first write: one that frees is let through.
  redis.call('DEL', flow_key)
  write_fields('HDEL', totals_key, drop_totals)
  write_fields('HSET', totals_key, set_totals)
  return 'OK'
end)
