-- After a vCon was changed: its new entry is kept if this was the only change since its begin;
-- where changes overlapped nothing is kept, and the next reader asks the database.
-- KEYS: entry, gate, perhaps the shared copy
-- ARGV: writer, a new g, new entry ('' for none), its TTL in seconds, what to share
-- Returns 1 if the entry was kept.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local gated = redis.call('TYPE', KEYS[2]).ok == 'hash'
local alone = gated and redis.call('HGET', KEYS[2], 'g') == ARGV[1]
local gate = gated and redis.call('HGETALL', KEYS[2]) or {}
for i = 1, #gate, 2 do
  if string.sub(gate[i], 1, 2) == 'w:' and gate[i] ~= 'w:' .. ARGV[1] then
    if (tonumber(gate[i + 1]) or 0) > now then
      alone = false
    else
      redis.call('HDEL', KEYS[2], gate[i])
    end
  end
end
local kind = redis.call('TYPE', KEYS[1]).ok
local kept = 0
if alone and ARGV[3] ~= '' and (kind == 'string' or kind == 'none') then
  -- Refused when memory is full; the begin has taken the old entry away already.
  local reply = redis.pcall('SET', KEYS[1], ARGV[3], 'EX', ARGV[4])
  if type(reply) == 'table' and reply.ok then
    kept = 1
  end
end
if KEYS[3] then
  local shared = redis.call('TYPE', KEYS[3]).ok
  if kept == 1 and (shared == 'string' or shared == 'none') then
    redis.pcall('SET', KEYS[3], ARGV[5], 'EX', ARGV[4])
  elseif shared == 'string' then
    redis.call('DEL', KEYS[3])
  end
end
if kept == 0 and kind == 'string' then
  redis.call('DEL', KEYS[1])
end
if gated then
  redis.call('HDEL', KEYS[2], 'w:' .. ARGV[1])
  redis.call('HSET', KEYS[2], 'g', ARGV[2])
end
return kept
