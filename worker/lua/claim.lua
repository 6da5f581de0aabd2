-- Become the owner of an animation. Every duplicate message ends here.
-- Allowed when it is queued and due, or when its owner's lease has run out. The attempt is counted here, before any
-- work, so that a job which kills its worker is given up after `max_attempts`.
-- KEYS: job, queued, leases, dead
-- ARGV: id, owner, lease_ms, max_attempts, error of a given-up job, an owner that is known to be gone or ''
-- `owner` is a new name for every delivery: the same name again is a call whose first answer was lost.
-- Returns the fence; 0 when it is not ours to run; -1 when it was ended just now, given up or canceled.
local state, lease_ms, attempt, owner, held, canceled = unpack(
  redis.call('HMGET', KEYS[1], 'state', 'lease_ms', 'attempt', 'owner', 'fence', 'cancel_requested'))
if state == 'processing' and owner == ARGV[2] then
  return tonumber(held)
end
local clock = redis.call('TIME')
local now_ms = clock[1] * 1000 + math.floor(clock[2] / 1000)
if state == 'queued' then
  local due_ms = redis.call('ZSCORE', KEYS[2], ARGV[1])
  if due_ms and tonumber(due_ms) > now_ms then
    return 0
  end
elseif state ~= 'processing' or (tonumber(lease_ms) >= now_ms and owner ~= ARGV[6]) then
  return 0
end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('HINCRBY', KEYS[1], 'version', 1)
if canceled == '1' then
  redis.call('ZREM', KEYS[3], ARGV[1])
  redis.call('HDEL', KEYS[1], 'owner', 'lease_ms')
  redis.call('HSET', KEYS[1], 'state', 'canceled', 'finished_ms', now_ms)
  return -1
end
if tonumber(attempt) >= tonumber(ARGV[4]) then
  redis.call('ZREM', KEYS[3], ARGV[1])
  redis.call('HDEL', KEYS[1], 'owner', 'lease_ms')
  redis.call('HSET', KEYS[1], 'state', 'failed', 'error', ARGV[5], 'finished_ms', now_ms)
  redis.call('LPUSH', KEYS[4], ARGV[1])
  return -1
end
redis.call('HINCRBY', KEYS[1], 'attempt', 1)
local fence = redis.call('HINCRBY', KEYS[1], 'fence', 1)
redis.call('HSET', KEYS[1], 'state', 'processing', 'owner', ARGV[2], 'frames_done', 0,
  'lease_ms', now_ms + ARGV[3])
redis.call('HSETNX', KEYS[1], 'started_ms', now_ms)
redis.call('ZADD', KEYS[3], now_ms + ARGV[3], ARGV[1])
return fence
