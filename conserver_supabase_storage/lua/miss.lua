-- A reader found no entry it may use, and will ask the database: it takes the gate's g, with which
-- its fill is accepted later. Returns '' where a fill has no chance: a change is under way, or
-- Redis takes no writes.
-- KEYS: entry, gate   ARGV: a new g, how the entry to throw away begins ('' for none), milliseconds
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local kind = redis.call('TYPE', KEYS[2]).ok
if kind ~= 'hash' and kind ~= 'none' then
  return ''
end
local gate = redis.call('HGETALL', KEYS[2])
local g = false
for i = 1, #gate, 2 do
  if gate[i] == 'g' then
    g = gate[i + 1]
  elseif (tonumber(gate[i + 1]) or 0) > now then
    return ''
  end
end
if ARGV[2] ~= '' and redis.call('TYPE', KEYS[1]).ok == 'string'
    and redis.call('GETRANGE', KEYS[1], 0, #ARGV[2] - 1) == ARGV[2] then
  redis.call('DEL', KEYS[1])
end
if not g then
  g = ARGV[1]
  local reply = redis.pcall('HSET', KEYS[2], 'g', g)
  if type(reply) == 'table' and reply.err then
    return ''
  end
end
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return g
