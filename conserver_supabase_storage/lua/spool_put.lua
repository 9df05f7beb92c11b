-- Keeps a save that could not be made, in place of an older one of the same vCon.
-- KEYS: records, queue, bytes, last number
-- ARGV: uuid, most, the record's header (JSON), document, most bytes, '1' to leave an older one
-- Returns 'ok', 'newer' where one was left, or what is full: 'count', 'bytes'.
local header = cjson.decode(ARGV[3])
local old = redis.call('HGET', KEYS[1], ARGV[1])
if old and ARGV[6] == '1' then
  return 'newer'
elseif old then
  local before = cjson.decode(string.sub(old, 1, string.find(old, '\n', 1, true) - 1))
  -- The later one is the newer, also where the savers' clocks differ.
  header.not_after = math.max(header.not_after, before.not_after)
elseif redis.call('ZCARD', KEYS[2]) >= tonumber(ARGV[2]) then
  return 'count'
end
header.number = tonumber(redis.call('GET', KEYS[4]) or '0') + 1
local record = cjson.encode(header) .. '\n' .. ARGV[4]
local change = #record - #(old or '')
if tonumber(redis.call('GET', KEYS[3]) or '0') + change > tonumber(ARGV[5]) then
  return 'bytes'
end
redis.call('HSET', KEYS[1], ARGV[1], record)
redis.call('SET', KEYS[4], string.format('%.0f', header.number))
redis.call('ZADD', KEYS[2], header.number, ARGV[1])
redis.call('INCRBY', KEYS[3], change)
return 'ok'
