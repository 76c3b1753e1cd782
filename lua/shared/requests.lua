-- The queue of requests that wait for a human, and the ways out of it.
--
-- A queue is a list of six keys: the sorted sets pending, unclaimed, claimed and deadlines, and the
-- hashes reviewers and terms. The terms of a request that has a deadline are "<requested> <deadline>
-- <default decision>", moments in microseconds; from the deadline on it counts as decided. Such a
-- request is swept out of the queue, but keeps its terms until an operation on its flow comes by.
local SWEPT_AT_ONCE = 100

-- Fails on a key of another type, before anything is written.
local function check_queue(queue)
  for i = 1, 4 do
    redis.call('ZCARD', queue[i])
  end
  redis.call('HLEN', queue[5])
  redis.call('HLEN', queue[6])
end

-- When it was asked, the deadline and the default decision of terms from KEYS[position].
local function split_terms(terms, position)
  local requested, deadline, default_decision = string.match(terms, '^(%d+) (%d+) (.*)$')
  if not requested then
    error('DIRCORRUPT ' .. position)
  end
  return requested, deadline, default_decision
end

-- Takes requests out of the queue; their terms stay.
local function leave_queue(queue, dfids)
  if #dfids > 0 then
    for i = 1, 4 do
      redis.call('ZREM', queue[i], unpack(dfids))
    end
    redis.call('HDEL', queue[5], unpack(dfids))
  end
end

-- Takes requests whose deadline has passed out of the queue; returns whether there may be more.
local function sweep_overdue(queue, now)
  local overdue =
    redis.call('ZRANGEBYSCORE', queue[4], '-inf', as_digits(now), 'LIMIT', 0, SWEPT_AT_ONCE)
  leave_queue(queue, overdue)
  return #overdue == SWEPT_AT_ONCE
end
