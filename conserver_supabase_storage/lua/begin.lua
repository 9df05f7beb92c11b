-- Before a vCon is changed: its entry goes, and nobody fills it until the change is complete.
-- KEYS: entry, gate, perhaps the shared copy   ARGV: writer, milliseconds that the change may take
--
-- The gate is a hash: g, which every begin and complete sets anew (a fill is accepted only if it
-- is still what the reader saw at its miss), and w:<writer> = deadline for each change under way.
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'string' or kind == 'none' then
  -- First of all, also where there is none: a script that has written may go on when memory is
  -- full, and the gate is small and expires soon.
  redis.call('DEL', KEYS[1])
end
if KEYS[3] and redis.call('TYPE', KEYS[3]).ok == 'string' then
  redis.call('DEL', KEYS[3])
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
kind = redis.call('TYPE', KEYS[2]).ok
if kind ~= 'hash' and kind ~= 'none' then
  return 1  -- somebody else's key in the gate's place: nothing is kept for this vCon
end
redis.call('HSET', KEYS[2], 'g', ARGV[1], 'w:' .. ARGV[1], now + ARGV[2])
if redis.call('PTTL', KEYS[2]) < tonumber(ARGV[2]) then
  redis.call('PEXPIRE', KEYS[2], ARGV[2])
end
return 1
