-- Returns the header (JSON) of the record that waits longest, without its document; or false.
-- KEYS: records, queue
local first = redis.call('ZRANGE', KEYS[2], 0, 0)[1]
local record = first and redis.call('HGET', KEYS[1], first)
return record and string.sub(record, 1, string.find(record, '\n', 1, true) - 1)
