-- Takes a record out of the spool: the very one that was read (by its number), or whatever was
-- spooled before a change that succeeded (by the database's time). Moves it where it is wanted.
-- KEYS: records, queue, bytes, failed   ARGV: uuid, number or '', time or '', text for failed or ''
-- Returns 1 if it was taken.
local old = redis.call('HGET', KEYS[1], ARGV[1])
if not old then
  return 0
end
local header = cjson.decode(string.sub(old, 1, string.find(old, '\n', 1, true) - 1))
if ARGV[2] ~= '' and header.number ~= tonumber(ARGV[2]) then
  return 0
end
if ARGV[3] ~= '' and header.not_after > tonumber(ARGV[3]) then
  return 0
end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('SET', KEYS[3], string.format('%.0f',
  math.max(0, tonumber(redis.call('GET', KEYS[3]) or '0') - header.size)))
if ARGV[4] ~= '' then
  redis.call('HSET', KEYS[4], ARGV[1], ARGV[4])
end
return 1
