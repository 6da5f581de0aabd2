-- Reserve an idempotency key for an upload that begins; the reservation ends by itself when it is not renewed.
-- ARGV: key, token of the upload, life of the reservation in ms
-- Returns {} when it is reserved (a repeated call too), {''} when another upload has it, and {fingerprint, id} when it
-- stands for an animation already.
local key = RESERVED .. ARGV[1]
local token, fingerprint, id = unpack(redis.call('HMGET', key, 'token', 'fingerprint', 'id'))
if id then
  return {fingerprint, id}
end
if token and token ~= ARGV[2] then
  return {''}
end
redis.call('HSET', key, 'token', ARGV[2])
redis.call('PEXPIRE', key, ARGV[3])
return {}
