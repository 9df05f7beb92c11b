-- Keeps a save that was refused, beside those that wait; or, without a text, forgets one.
-- KEYS: failed, bytes   ARGV: uuid, text or '', most, most bytes
-- Returns 1 if it was kept, or was there to forget.
local old = redis.call('HSTRLEN', KEYS[1], ARGV[1])
if ARGV[2] == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
  redis.call('INCRBY', KEYS[2], -old)
  return old > 0 and 1 or 0
end
local change = #ARGV[2] - old
if old == 0 and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[3])
    or tonumber(redis.call('GET', KEYS[2]) or '0') + change > tonumber(ARGV[4]) then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('INCRBY', KEYS[2], change)
return 1
