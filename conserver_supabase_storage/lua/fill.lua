-- A reader brings what the database said, with the g of its miss. Accepted only if no change began
-- or completed since, none is under way, and there is no entry. A gate that expired or was evicted
-- refuses: what can't be known to be newest is not kept.
-- KEYS: entry, gate, perhaps the shared copy   ARGV: g, entry, its TTL in seconds, what to share
-- Returns 1 if the entry was kept.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local kind = redis.call('TYPE', KEYS[2]).ok
if kind ~= 'hash' and kind ~= 'none' then
  return 0
end
local gate = redis.call('HGETALL', KEYS[2])
local g = false
for i = 1, #gate, 2 do
  if gate[i] == 'g' then
    g = gate[i + 1]
  elseif (tonumber(gate[i + 1]) or 0) > now then
    return 0
  end
end
if g ~= ARGV[1] or redis.call('TYPE', KEYS[1]).ok ~= 'none' then
  return 0
end
local reply = redis.pcall('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
if type(reply) == 'table' and reply.ok then
  if KEYS[3] and (redis.call('TYPE', KEYS[3]).ok == 'string'
      or redis.call('TYPE', KEYS[3]).ok == 'none') then
    redis.pcall('SET', KEYS[3], ARGV[4], 'EX', ARGV[3])
  end
  return 1
end
return 0
