-- Appends rows to a partition's audit log and its chain, one after the other, at one moment.
--
-- Uses: once, log, sha256, chain
-- KEYS[1] -> {<namespace>:<partition>}:audit  stream
-- KEYS[2] -> {<namespace>:<partition>}:audit_end  hash, the chain's end
-- KEYS[3..] -> {<namespace>:<partition>}:audit_flow:<dfid>  list of ids, one for each flow
-- KEYS[last] -> {<namespace>:<partition>}:op:<session>  string
-- ARGV[1] = how many words a row has: its fields and values
-- ARGV[2..] = per row the number of its flow, from 1, the SHA-256 of its contents, hex, and its
-- words: field, value, ...
-- ARGV[last-1] = the operation's number in its session
-- ARGV[last] = how long the session is kept, milliseconds
-- Reply: "DONE"
local log_key, end_key, first_flow = KEYS[1], KEYS[2], 3
local words = tonumber(ARGV[1])

return once(function()
  for position = first_flow, #KEYS - 1 do
    local flow_key = KEYS[position]
    redis.call('LLEN', flow_key) -- a key of another type fails here, before anything is written
  end
  local chain_end = read_chain_end(end_key, 2) or chain_beginning()
  local link_of = sha256_of_two_digests_and_text()
  local ids_of_flows, id = {}, nil
  for position = 2, #ARGV - 2, words + 2 do
    id = id and following_id(id) or next_entry_id(log_key)
    local digest = ARGV[position + 1]
    local first, last = position + 2, position + 1 + words
    chain_end = append_link(log_key, id, chain_end, link_of, digest, ARGV, first, last)
    local flow = tonumber(ARGV[position])
    ids_of_flows[flow] = ids_of_flows[flow] or {}
    table.insert(ids_of_flows[flow], id)
  end
  push_ids(first_flow, ids_of_flows)
  write_chain_end(end_key, chain_end)
  return 'DONE'
end)
