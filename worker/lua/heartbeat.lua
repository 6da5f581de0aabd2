-- Extend the lease and tell the progress; learn whether to go on.
-- ARGV: id, fence, lease_ms, frames_done
-- Returns 'ok', 'cancel' or 'lost'.
local key = JOB .. ARGV[1]
local state, fence, canceled, done = unpack(
  redis.call('HMGET', key, 'state', 'fence', 'cancel_requested', 'frames_done'))
if state ~= 'processing' or fence ~= ARGV[2] then
  return 'lost'
end
local until_ms = now_ms() + ARGV[3]
redis.call('HSET', key, 'lease_ms', until_ms)
redis.call('ZADD', LEASES, until_ms, ARGV[1])
if done ~= ARGV[4] then
  redis.call('HSET', key, 'frames_done', ARGV[4])
  redis.call('HINCRBY', key, 'version', 1)
end
if canceled == '1' then
  return 'cancel'
end
return 'ok'
