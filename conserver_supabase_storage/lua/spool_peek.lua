-- Tells of vCons that are about to be changed.
-- KEYS: queue, failed   ARGV: uuids
-- Returns how many records wait, then for each vCon its record's number ('' for none), and 1 if it is
-- set aside.
local told = {redis.call('ZCARD', KEYS[1])}
for _, uuid in ipairs(ARGV) do
  told[#told + 1] = redis.call('ZSCORE', KEYS[1], uuid) or ''
  told[#told + 1] = redis.call('HEXISTS', KEYS[2], uuid)
end
return told
