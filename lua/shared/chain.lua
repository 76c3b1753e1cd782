-- A chain of log entries: each holds the SHA-256 of all it holds, its place, and the one before.
--
-- The chain's end is a hash: the number of its last entry, from 1, and that entry's link.

local NO_LINK = string.rep('0', 64)

local function chain_beginning()
  return { 0, NO_LINK }
end

-- The end of a chain as {number, link}; nothing if there is none. position: the key's place in KEYS.
local function read_chain_end(end_key, position)
  local number, link = unpack(redis.call('HMGET', end_key, 'number', 'link'))
  if not number and not link then
    return nil
  end
  if not (number and link and (number == '0' or string.find(number, '^[1-9]%d*$'))
    and #number < 16 and #link == 64 and not string.find(link, '[^0-9a-f]')) then
    error('DIRCORRUPT ' .. position)
  end
  return { tonumber(number), link }
end

-- The id for an entry of now: as append_entry gives it, but known before it is appended.
local function next_entry_id(log_key)
  local time = redis.call('TIME')
  local microseconds = tonumber(time[2])
  local milliseconds = string.format('%s%03d', time[1], math.floor(microseconds / 1000))
  local sequence = microseconds % 1000 * 1000
  if redis.call('EXISTS', log_key) == 1 then
    local about = redis.call('XINFO', 'STREAM', log_key)
    for position = 1, #about, 2 do
      if about[position] == 'last-generated-id' then
        local last_ms, last_sequence = string.match(about[position + 1], '^(%d+)%-(%d+)$')
        if tonumber(last_ms) > tonumber(milliseconds)
          or (last_ms == milliseconds and tonumber(last_sequence) >= sequence) then
          milliseconds, sequence = last_ms, tonumber(last_sequence) + 1
        end
      end
    end
  end
  return string.format('%s-%.0f', milliseconds, sequence)
end

-- The id after an id.
local function following_id(id)
  local milliseconds, sequence = string.match(id, '^(%d+)%-(%d+)$')
  return string.format('%s-%.0f', milliseconds, tonumber(sequence) + 1)
end

-- Appends the fields and values list[first] to list[last] under an id, with their number and link;
-- returns the new end of the chain.
local function append_link(log_key, id, chain_end, link_of, digest, list, first, last)
  local number = string.format('%d', chain_end[1] + 1)
  local link = link_of(chain_end[2], digest, number .. ' ' .. id)
  local words = { unpack(list, first, last) }
  for _, word in ipairs({ 'number', number, 'link', link }) do
    words[#words + 1] = word
  end
  redis.call('XADD', log_key, id, unpack(words))
  return { chain_end[1] + 1, link }
end

local function write_chain_end(end_key, chain_end)
  redis.call('HSET', end_key, 'number', string.format('%d', chain_end[1]), 'link', chain_end[2])
end
