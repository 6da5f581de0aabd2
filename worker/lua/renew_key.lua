-- Renew the reservation of a key, or give it up with a life of 0. A key that stands for an animation stays as it is.
-- ARGV: key, token of the upload, life of the reservation in ms
-- Returns 1 when it was ours.
local key = RESERVED .. ARGV[1]
if redis.call('HGET', key, 'token') ~= ARGV[2] then
  return 0
end
redis.call('PEXPIRE', key, ARGV[3])
return 1
