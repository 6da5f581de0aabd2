-- Become the owner of an animation. Every duplicate message ends here.
-- Allowed when it is queued and due, or when its owner's lease has run out. The attempt is counted here, before any
-- work, so that a job which kills its worker is given up after `max_attempts`.
-- ARGV: id, owner, lease_ms, max_attempts, error of a given-up job, an owner that is known to be gone or ''
-- `owner` is a new name for every delivery: the same name again is a call whose first answer was lost.
-- Returns the fence; 0 when it is not ours to run; -1 when it was ended just now, given up or canceled.
local id = ARGV[1]
local key = JOB .. id
local state, lease_ms, attempt, owner, held, canceled = unpack(
  redis.call('HMGET', key, 'state', 'lease_ms', 'attempt', 'owner', 'fence', 'cancel_requested'))
if state == 'processing' and owner == ARGV[2] then
  return tonumber(held)
end
local now = now_ms()
if state == 'queued' then
  local due_ms = redis.call('ZSCORE', QUEUED, id)
  if due_ms and tonumber(due_ms) > now then
    return 0
  end
elseif state ~= 'processing' or (tonumber(lease_ms) >= now and owner ~= ARGV[6]) then
  return 0
end
if canceled == '1' then
  redis.call('HINCRBY', key, 'fence', 1)
  finish(id, 'canceled', now)
  return -1
end
if tonumber(attempt) >= tonumber(ARGV[4]) then
  redis.call('HINCRBY', key, 'fence', 1)
  finish(id, 'failed', now, ARGV[5])
  return -1
end
count('attempts')
if state == 'queued' then
  count_duration('queue_wait', now - redis.call('ZSCORE', QUEUED, id))
else
  count('redelivered|owner_gone')
end
leave_lines(id)
redis.call('HINCRBY', key, 'version', 1)
redis.call('HINCRBY', key, 'attempt', 1)
local fence = redis.call('HINCRBY', key, 'fence', 1)
redis.call('HSET', key, 'state', 'processing', 'owner', ARGV[2], 'frames_done', 0, 'claimed_ms', now,
  'lease_ms', now + ARGV[3])
redis.call('HSETNX', key, 'started_ms', now)
redis.call('ZADD', LEASES, now + ARGV[3], id)
return fence
