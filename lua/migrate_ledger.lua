-- Appends copied entries to a partition's ledger, with ids and links that the caller made for them, of
-- flows that have none.
--
-- Uses: once, chain
-- KEYS[1] -> {<namespace>:<partition>}:ledger  stream
-- KEYS[2] -> {<namespace>:<partition>}:ledger_end  hash, the chain's end
-- KEYS[3..] -> {<namespace>:<partition>}:ledger_flow:<dfid>  list of ids, one for each entry
-- KEYS[last] -> {<namespace>:<partition>}:op:<session>  string
-- ARGV[1] = the number of the entry they were chained to, 0 for none
-- ARGV[2] = its link
-- ARGV[3] = how many words an entry has: its fields and values
-- ARGV[4..] = per entry its id and its words: field, value, ..., "number", its number, "link", its link
-- ARGV[last-1] = the operation's number in its session
-- ARGV[last] = how long the session is kept, milliseconds
-- Reply: "DONE"; with nothing written "MOVED": somebody has appended since, or to one of the flows
local log_key, end_key, first_flow = KEYS[1], KEYS[2], 3
local words, first = tonumber(ARGV[3]), 4

return once(function()
  local chain_end = read_chain_end(end_key, 2)
  if not chain_end then
    if redis.call('XLEN', log_key) > 0 then
      error('DIRCORRUPT 2')
    end
    chain_end = chain_beginning()
  end
  if chain_end[1] ~= tonumber(ARGV[1]) or chain_end[2] ~= ARGV[2] then
    return 'MOVED'
  end
  for position = first_flow, #KEYS - 1 do
    local flow_key = KEYS[position]
    if redis.call('LLEN', flow_key) > 0 then -- fails on a key of another type, before any write
      return 'MOVED'
    end
  end
  for position = first, #ARGV - 2, words + 1 do
    local id = ARGV[position]
    local flow_key = KEYS[first_flow + (position - first) / (words + 1)]
    redis.call('XADD', log_key, id, unpack(ARGV, position + 1, position + words))
    redis.call('RPUSH', flow_key, id)
    chain_end = { chain_end[1] + 1, ARGV[position + words] }
  end
  write_chain_end(end_key, chain_end)
  return 'DONE'
end)
