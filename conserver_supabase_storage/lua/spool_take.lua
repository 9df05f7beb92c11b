-- Takes a record out of the spool, if it is still the one that was seen. Moves it to where the
-- records are that failed for good, if it is to go there.
-- KEYS: records, queue, bytes, failed   ARGV: uuid, number, text for failed or ''
-- Returns 1 if it was taken.
if redis.call('ZSCORE', KEYS[2], ARGV[1]) ~= ARGV[2] then
  return 0
end
local old = redis.call('HGET', KEYS[1], ARGV[1]) or ''
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
local change = -#old
if ARGV[3] ~= '' then
  change = change + #ARGV[3] - redis.call('HSTRLEN', KEYS[4], ARGV[1])
  redis.call('HSET', KEYS[4], ARGV[1], ARGV[3])
end
redis.call('INCRBY', KEYS[3], change)
return 1
