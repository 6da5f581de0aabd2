-- End an animation that this worker still owns: the one place where a result, a failure or a cancellation of running
-- work becomes visible. A worker whose fence is old changes nothing.
-- KEYS: job, leases, dead   ARGV: id, fence, state, field ('result' or 'error', may be ''), its JSON, frames_done
-- Returns 1 (also when the same call was carried out before and only its answer was lost), 0 when the fence is old.
local state, fence = unpack(redis.call('HMGET', KEYS[1], 'state', 'fence'))
if state == ARGV[3] and fence == ARGV[2] then
  return 1
end
if state ~= 'processing' or fence ~= ARGV[2] then
  return 0
end
local clock = redis.call('TIME')
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[1], 'owner', 'lease_ms')
redis.call('HINCRBY', KEYS[1], 'version', 1)
redis.call('HSET', KEYS[1], 'state', ARGV[3], 'frames_done', ARGV[6],
  'finished_ms', clock[1] * 1000 + math.floor(clock[2] / 1000))
if ARGV[4] ~= '' then
  redis.call('HSET', KEYS[1], ARGV[4], ARGV[5])
end
if ARGV[3] == 'failed' then
  redis.call('LPUSH', KEYS[3], ARGV[1])
end
return 1
