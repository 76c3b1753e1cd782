-- Reads all that is known of a flow's request.
--
-- Uses: clock, requests
-- KEYS[1] -> {<namespace>:0}:requests_pending  sorted set, dfid by time of the request
-- KEYS[2] -> {<namespace>:0}:requests_claimed  sorted set, dfid by the end of a reviewer's lease
-- KEYS[3] -> {<namespace>:0}:requests_reviewers  hash, reviewer by dfid
-- KEYS[4] -> {<namespace>:0}:requests_terms  hash, deadline and default decision by dfid
-- KEYS[5] -> {<namespace>:0}:requests_open  hash, request as JSON by dfid
-- KEYS[6] -> {<namespace>:0}:request:<dfid>  hash, the decided request
-- ARGV[1] = dfid
-- Reply: {"NONE"}; {"OVERDUE"}: the deadline has passed, and that has to be written down;
-- {"RESOLVED", field, value, ...}; {"PENDING", request as JSON, microseconds of the request, terms or
-- "", microseconds until the deadline or "", reviewer or "", end of the lease in microseconds or ""}
local pending_key, claimed_key, reviewers_key = KEYS[1], KEYS[2], KEYS[3]
local terms_key, open_key, resolved_key = KEYS[4], KEYS[5], KEYS[6]
local dfid = ARGV[1]

local request = redis.call('HGET', open_key, dfid)
if not request then
  local resolved = redis.call('HGETALL', resolved_key)
  return #resolved == 0 and { 'NONE' } or { 'RESOLVED', unpack(resolved) }
end
local now = server_time()
local requested = redis.call('ZSCORE', pending_key, dfid)
local terms = redis.call('HGET', terms_key, dfid)
local left = ''
if terms then
  local _, deadline = split_terms(terms, 4)
  if not requested or tonumber(deadline) <= now then
    return { 'OVERDUE' }
  end
  left = as_digits(tonumber(deadline) - now)
elseif not requested then
  error('DIRCORRUPT 1')
end
local asked = as_digits(tonumber(requested))
local lease_end = redis.call('ZSCORE', claimed_key, dfid)
if not lease_end or tonumber(lease_end) <= now then
  return { 'PENDING', request, asked, terms or '', left, '', '' }
end
local reviewer = redis.call('HGET', reviewers_key, dfid)
if not reviewer then
  error('DIRCORRUPT 3')
end
return { 'PENDING', request, asked, terms or '', left, reviewer, as_digits(tonumber(lease_end)) }
