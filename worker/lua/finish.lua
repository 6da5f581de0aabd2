-- End an animation that this worker still owns: the one place where a result, a failure or a cancellation of running
-- work becomes visible. A worker whose fence is old changes nothing.
-- ARGV: id, fence, state, result or error as JSON or '', frames_done, model or ''
-- Returns 1; 2 when it ended as canceled instead, because that had been asked for (and promised) before; 0 when the
-- fence is old. The same call again, after a lost answer, returns the same.
local id = ARGV[1]
local key = JOB .. id
local state, fence, claimed_ms, canceled = unpack(
  redis.call('HMGET', key, 'state', 'fence', 'claimed_ms', 'cancel_requested'))
if state == ARGV[3] and fence == ARGV[2] then
  return 1
end
if state == 'canceled' and fence == ARGV[2] then
  return 2
end
if state ~= 'processing' or fence ~= ARGV[2] then
  if ARGV[3] == 'succeeded' then
    count('commits_fenced')
  end
  return 0
end
local now = now_ms()
if canceled == '1' and ARGV[3] ~= 'canceled' then
  finish(id, 'canceled', now)
  return 2
end
finish(id, ARGV[3], now, ARGV[4])
redis.call('HSET', key, 'frames_done', ARGV[5])
if ARGV[3] == 'succeeded' then
  redis.call('HSET', key, 'result', ARGV[4])
  count_duration('run', now - claimed_ms)
  -- Frames a second from claim to commit, with fetching and storing: what somebody who waits wants to know.
  local speed = 1000 * ARGV[5] / math.max(1, now - claimed_ms)
  local before = redis.call('HGET', SPEEDS, ARGV[6])
  if before then
    speed = 0.7 * before + 0.3 * speed
  end
  redis.call('HSET', SPEEDS, ARGV[6], string.format('%.6g', speed))
end
return 1
