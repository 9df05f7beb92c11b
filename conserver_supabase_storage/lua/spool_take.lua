-- Takes a record out of the spool, if it is still the one that was seen. Moves it to where the
-- records are that failed for good, if it is to go there.
-- KEYS: records, queue, bytes, failed   ARGV: uuid, number, text for failed or ''
-- Returns 1 if it was taken.
if redis.call('ZSCORE', KEYS[2], ARGV[1]) ~= ARGV[2] then
  return 0
end
local old = redis.call('HGET', KEYS[1], ARGV[1])
local header = cjson.decode(string.sub(old, 1, string.find(old, '\n', 1, true) - 1))
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('SET', KEYS[3], string.format('%.0f',
  math.max(0, tonumber(redis.call('GET', KEYS[3]) or '0') - header.size)))
if ARGV[3] ~= '' then
  redis.call('HSET', KEYS[4], ARGV[1], ARGV[3])
end
return 1
