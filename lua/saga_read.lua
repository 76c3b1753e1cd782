-- Reads a flow's dirty mark.
--
-- KEYS[1] -> {<namespace>:<partition>}:sagas_marks  hash, mark as JSON by dfid
-- KEYS[2] -> {<namespace>:<partition>}:saga:<dfid>  hash, the mark as schema 1 has it
-- ARGV[1] = dfid
-- Reply: {mark as JSON, nil, nil}; {nil, failed step, partial state} of a mark made under schema 1;
-- {nil, nil, nil} if there is none
local marks_key, old_key = KEYS[1], KEYS[2]
local dfid = ARGV[1]

local mark = redis.call('HGET', marks_key, dfid)
if mark then
  return { mark, false, false }
end
local old = redis.call('HMGET', old_key, 'failed_step', 'partial_state')
return { false, old[1], old[2] }
