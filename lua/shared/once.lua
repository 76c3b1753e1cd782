-- Applies a write at most once, however often its request arrives.
--
-- A request carries the client's operation session and its number in it. The session's key keeps
-- the last number applied and its reply, so a request sent again (its reply was lost) gets the
-- first reply, and one that arrives late, after its successor, is refused. Whatever the write
-- refuses by error is not kept.
--
-- apply: a function that does the write and returns its reply, a string; and, if that may be long, a
-- short one that is kept in its place and that a request sent again gets. It has to tell the client
-- enough to go on: 'AGAIN', ask anew, with a new number, where the write may be done twice; or where
-- to read what it would have been told, and how to see that it is still so.
local function once(apply)
  local session_key = KEYS[#KEYS]
  local number = ARGV[#ARGV - 1]
  local keep_ms = ARGV[#ARGV]
  local last = redis.call('GET', session_key)
  if last then
    local last_number, last_reply = string.match(last, '^(%d+) (.*)$')
    if not last_number then
      error('DIRCORRUPT ' .. #KEYS)
    end
    if last_number == number then
      -- A write, since a server takes WAIT to speak of the latest one of its connection, and this
      -- may be another connection than the one that the request came on first.
      redis.call('PEXPIRE', session_key, keep_ms)
      return last_reply
    end
    if tonumber(last_number) > tonumber(number) then
      error('DIRLATE')
    end
  end
  local reply, kept = apply()
  redis.call('SET', session_key, number .. ' ' .. (kept or reply), 'PX', keep_ms)
  return reply
end
