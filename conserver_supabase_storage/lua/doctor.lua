-- Whether a script may write here. Changes nothing: there is no such key, and an empty piece of text
-- makes none. It is refused all the same where memory is full, as what a save keeps would be.
-- KEYS: a key that is not there
local reply = redis.pcall('SETRANGE', KEYS[1], 0, '')
redis.call('DEL', KEYS[1])
if type(reply) == 'table' and reply.err then
  return reply
end
return 1
