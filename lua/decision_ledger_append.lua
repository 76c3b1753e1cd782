-- Appends a flow's entry to the ledger and its chain; the same once more changes nothing.
--
-- Uses: once, sha256, chain
-- KEYS[1] -> {<namespace>:<partition>}:ledger  stream
-- KEYS[2] -> {<namespace>:<partition>}:ledger_flow:<dfid>  list of ids, one at most
-- KEYS[3] -> {<namespace>:<partition>}:ledger_end  hash, the chain's end
-- KEYS[4] -> {<namespace>:<partition>}:op:<session>  string
-- ARGV[1] = the SHA-256 of the entry's fields and values, hex
-- ARGV[2..] = field, value, ... of the entry
-- ARGV[last-1] = the operation's number in its session
-- ARGV[last] = how long the session is kept, milliseconds
-- Reply: "DONE"; "DIFFERS <field> ..." if the flow has an entry with other values in these fields
local log_key, flow_key, end_key = KEYS[1], KEYS[2], KEYS[3]
local digest, first = ARGV[1], 2

return once(function()
  local last = #ARGV - 2
  local stored = redis.call('LRANGE', flow_key, 0, 0)[1]
  if stored then
    local entry = redis.call('XRANGE', log_key, stored, stored)[1]
    if not entry then
      error('DIRCORRUPT 2')
    end
    local differing = {}
    for position = first, last, 2 do
      if entry[2][position - first + 1] ~= ARGV[position]
        or entry[2][position - first + 2] ~= ARGV[position + 1] then
        differing[#differing + 1] = ARGV[position]
      end
    end
    if #differing > 0 then
      return 'DIFFERS ' .. table.concat(differing, ' ')
    end
    return 'DONE'
  end
  local chain_end = read_chain_end(end_key, 3)
  if not chain_end then
    if redis.call('XLEN', log_key) > 0 then
      error('DIRCORRUPT 3')
    end
    chain_end = chain_beginning()
  end
  local id, link_of = next_entry_id(log_key), sha256_of_two_digests_and_text()
  chain_end = append_link(log_key, id, chain_end, link_of, digest, ARGV, first, last)
  redis.call('RPUSH', flow_key, id)
  write_chain_end(end_key, chain_end)
  return 'DONE'
end)
