-- Ending a flow: all of its own records in one step.

-- What is to be done, of which nothing is done yet: 'CLOSED', 'ALREADY' if the flow has the final
-- status, or the reply to a caller who believed it to be elsewhere; the status it has; and where the
-- chain of the audit log ends.
--
-- keys: the first seven of KEYS. expected: '=' and the status it must have, or empty for any.
local function judge_closing(keys, final, expected)
  local log_key, flow_key, audit_key, audit_flow_key, retry_key, session_key, end_key = unpack(keys)
  local status = latest_status(log_key, flow_key)
  redis.call('XLEN', audit_key) -- keys of another type fail here, before anything is written
  redis.call('LLEN', audit_flow_key)
  redis.call('STRLEN', retry_key)
  redis.call('HLEN', session_key)
  local chain_end = read_chain_end(end_key, #keys) or chain_beginning()
  local has = status or INITIAL_STATUS
  if has == final then
    return 'ALREADY', has, chain_end
  end
  if expected ~= '' and expected ~= '=' .. has then
    return conflict(status), has, chain_end
  end
  return 'CLOSED', has, chain_end
end

-- Lets a session end after so many milliseconds, or with none never.
local function keep_session(session_key, keep_ms)
  if keep_ms == '' then
    redis.call('PERSIST', session_key)
  else
    redis.call('PEXPIRE', session_key, keep_ms)
  end
end

-- The same for a flow that was closed before, whose session may be on its way out already.
local function keep_session_of_closed(session_key, keep_ms)
  if keep_ms ~= '' and redis.call('PTTL', session_key) == -1 then
    redis.call('PEXPIRE', session_key, keep_ms)
  end
end

-- Writes what judge_closing found is to be done.
--
-- told: {the final status, how long the session is kept, the dfid, the root_dfid, the SHA-256 of the
-- audit row or empty}; the row's fields and values are list[first] to list[last].
local function write_closing(keys, verdict, status, chain_end, told, list, first, last)
  local log_key, flow_key, audit_key, audit_flow_key, retry_key, session_key, end_key = unpack(keys)
  local final, keep_ms, dfid, root_dfid, digest = unpack(told)
  redis.call('DEL', retry_key)
  if verdict == 'ALREADY' then
    keep_session_of_closed(session_key, keep_ms)
    return
  end
  local row = { 'dfid', dfid, 'from', status, 'to', final, 'root_dfid', root_dfid }
  append_row(log_key, flow_key, row, 1, #row)
  if digest == '' then
    append_row(audit_key, audit_flow_key, list, first, last)
  else
    local id, link_of = next_entry_id(audit_key), sha256_of_two_digests_and_text()
    chain_end = append_link(audit_key, id, chain_end, link_of, digest, list, first, last)
    redis.call('RPUSH', audit_flow_key, id)
    write_chain_end(end_key, chain_end)
  end
  keep_session(session_key, keep_ms)
end
