-- Takes, prolongs or (0 milliseconds) gives back the right to replay.
-- KEYS: lock   ARGV: owner, milliseconds
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then
  return 0
end
-- First of all: a script that has written may go on when memory is full, and emptying the spool is
-- what helps then.
redis.call('DEL', KEYS[1])
if ARGV[2] ~= '0' then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
end
return 1
