-- The claim on a dirty flow, in a hash by dfid: "<epoch> <until> <owner>", moments in microseconds.
--
-- A flow lies in one of two sorted sets: sagas_due if it can be claimed, by when it began to wait, or
-- sagas_claimed by the end of its claim's lease. A live lease is so never in the way of who waits.
--
-- A claim that was given back, or that a newer mark has ended, is kept as "<epoch> 0 ", so that the
-- next epoch is larger.

-- The epoch and the end of the lease of the claim in KEYS[position], '0' if it has ended; or nil.
local function read_claim(claims_key, dfid, position)
  local claim = redis.call('HGET', claims_key, dfid)
  if not claim then
    return nil
  end
  local epoch, ends = string.match(claim, '^(%d+) (%d+) ')
  if not epoch then
    error('DIRCORRUPT ' .. position)
  end
  return epoch, ends
end

-- Ends a claim, which leaves its epoch behind.
local function end_claim(claims_key, dfid, epoch)
  redis.call('HSET', claims_key, dfid, epoch .. ' 0 ')
end
