-- Ending a flow: all of its own records in one step.

-- What is to be done, of which nothing is done yet: 'CLOSED', 'ALREADY' if the flow has the final
-- status, or the reply to a caller who believed it to be elsewhere; and the status it has.
--
-- The first two keys are the first two of KEYS. expected: '=' and the status it must have, or
-- empty for any.
local function judge_closing(
  log_key, flow_key, audit_key, audit_flow_key, retry_key, session_key, final, expected
)
  local status = latest_status(log_key, flow_key)
  redis.call('XLEN', audit_key) -- keys of another type fail here, before anything is written
  redis.call('LLEN', audit_flow_key)
  redis.call('STRLEN', retry_key)
  redis.call('HLEN', session_key)
  local has = status or INITIAL_STATUS
  if has == final then
    return 'ALREADY', has
  end
  if expected ~= '' and expected ~= '=' .. has then
    return conflict(status), has
  end
  return 'CLOSED', has
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
