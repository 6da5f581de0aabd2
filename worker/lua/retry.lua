-- Put a running animation back in the queue after a failure that may pass.
-- ARGV: id, fence, delay_ms, error, 1 when the attempt shall not count, because its worker had to go; else 0
-- Returns 1 when it is queued, 2 when it was canceled meanwhile, 0 when the fence is old; the same call again, after a
-- lost answer, returns the same.
local id = ARGV[1]
local state, fence, canceled = unpack(redis.call('HMGET', JOB .. id, 'state', 'fence', 'cancel_requested'))
if state == 'queued' and fence == ARGV[2] then
  return 1
end
if state == 'canceled' and fence == ARGV[2] then
  return 2
end
if state ~= 'processing' or fence ~= ARGV[2] then
  return 0
end
local now = now_ms()
if canceled == '1' then
  -- Somebody asked for its end while it ran: there is nothing to try again.
  finish(id, 'canceled', now)
  return 2
end
enqueue(id, now + ARGV[3])
if ARGV[5] == '1' then
  redis.call('HINCRBY', JOB .. id, 'attempt', -1)
end
count('redelivered|retry')
redis.call('HSET', JOB .. id, 'last_error', ARGV[4])
return 1
