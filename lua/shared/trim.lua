-- Which of a log's oldest rows may go.

-- The oldest rows and how many of them may be dropped: those too old or too many that every
-- reader group has archived. The groups are in KEYS[2], by name the id of the last row archived.
--
-- older_than: the age from which a row is too old, microseconds; empty for none
-- max_rows: how many rows are not too many; empty for any number
-- count: rows to look at
local function oldest_rows(log_key, groups_key, older_than, max_rows, count)
  local archived
  for _, id in ipairs(redis.call('HVALS', groups_key)) do
    if not is_id(id) then
      error('DIRCORRUPT 2')
    end
    if not archived or is_later(archived, id) then
      archived = id
    end
  end
  local surplus, before = 0, 0
  if max_rows ~= '' then
    surplus = redis.call('XLEN', log_key) - tonumber(max_rows)
  end
  if older_than ~= '' then
    before = server_time() - tonumber(older_than)
  end
  local rows = redis.call('XRANGE', log_key, '-', '+', 'COUNT', count)
  for position, row in ipairs(rows) do
    local milliseconds, sequence = string.match(row[1], '^(%d+)%-(%d+)$')
    local moment = tonumber(milliseconds) * 1000
      + math.min(math.floor(tonumber(sequence) / 1000), 999)
    if (archived and is_later(row[1], archived)) or (position > surplus and moment >= before) then
      return rows, position - 1
    end
  end
  return rows, #rows
end

-- The flow a row of KEYS[1] belongs to.
local function flow_of(row)
  for position = 1, #row[2], 2 do
    if row[2][position] == 'dfid' then
      return row[2][position + 1]
    end
  end
  error('DIRCORRUPT 1')
end

-- The number and link of the last of the first so many rows that is in the chain; nothing if none is.
local function last_link(rows, count)
  for row = count, 1, -1 do
    local number, link
    for position = 1, #rows[row][2], 2 do
      local field, value = rows[row][2][position], rows[row][2][position + 1]
      if field == 'number' then
        number = value
      elseif field == 'link' then
        link = value
      end
    end
    if number and link then
      return number, link
    end
  end
end
