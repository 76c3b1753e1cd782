-- Returns a flow's status.
--
-- Uses: status
-- KEYS[1] -> {<namespace>:<partition>}:transitions  stream
-- KEYS[2] -> {<namespace>:<partition>}:transitions_flow:<dfid>  list of ids
-- Reply: the status its latest transition led to, or nil if it has none
local log_key, flow_key = KEYS[1], KEYS[2]

return latest_status(log_key, flow_key)
