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
    note_amount(set_totals, drop_totals, resource_id, join(held_by_others(totals[i], held[i], 2)))
  end
  -- A server that is out of memory looks at a script's first write: one that frees is let through.
  redis.call('DEL', flow_key)
  write_fields('HDEL', totals_key, drop_totals)
  write_fields('HSET', totals_key, set_totals)
  return 'OK'
end)
