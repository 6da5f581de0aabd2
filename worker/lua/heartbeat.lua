-- Extend the lease and tell the progress; learn whether to go on.
-- KEYS: job, leases   ARGV: id, fence, lease_ms, frames_done
-- Returns 'ok', 'cancel' or 'lost'.
local state, fence, canceled, done = unpack(
  redis.call('HMGET', KEYS[1], 'state', 'fence', 'cancel_requested', 'frames_done'))
if state ~= 'processing' or fence ~= ARGV[2] then
  return 'lost'
end
local clock = redis.call('TIME')
local until_ms = clock[1] * 1000 + math.floor(clock[2] / 1000) + ARGV[3]
redis.call('HSET', KEYS[1], 'lease_ms', until_ms)
redis.call('ZADD', KEYS[2], until_ms, ARGV[1])
if done ~= ARGV[4] then
  redis.call('HSET', KEYS[1], 'frames_done', ARGV[4])
  redis.call('HINCRBY', KEYS[1], 'version', 1)
end
if canceled == '1' then
  return 'cancel'
end
return 'ok'
