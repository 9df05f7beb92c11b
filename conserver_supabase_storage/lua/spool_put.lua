-- Keeps a save that could not be made, in place of an older one of the same vCon.
-- KEYS: records, queue, bytes, last number
-- ARGV: uuid, most, the record's header (JSON), document, most bytes
-- Returns 'ok', or what is full: 'count', 'bytes'.
local size = #ARGV[3] + #ARGV[4]
local header = cjson.decode(ARGV[3])
local old = redis.call('HGET', KEYS[1], ARGV[1])
local total = tonumber(redis.call('GET', KEYS[3]) or '0') + size
if old then
  local before = cjson.decode(string.sub(old, 1, string.find(old, '\n', 1, true) - 1))
  total = total - before.size
  -- The later one is the newer, also where the savers' clocks differ.
  header.not_after = math.max(header.not_after, before.not_after)
elseif redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[2]) then
  return 'count'
end
if total > tonumber(ARGV[5]) then
  return 'bytes'
end
local number = redis.call('INCR', KEYS[4])
header.number = number
header.size = size
redis.call('HSET', KEYS[1], ARGV[1], cjson.encode(header) .. '\n' .. ARGV[4])
redis.call('ZADD', KEYS[2], number, ARGV[1])
redis.call('SET', KEYS[3], string.format('%.0f', total))
return 'ok'
