-- Put a running animation back in the queue after a failure that may pass.
-- KEYS: job, queued, leases   ARGV: id, fence, delay_ms, error
-- Returns 1 when it is queued, 2 when it was canceled meanwhile, 0 when the fence is old; the same call again, after a
-- lost answer, returns the same.
local state, fence, canceled = unpack(redis.call('HMGET', KEYS[1], 'state', 'fence', 'cancel_requested'))
if state == 'queued' and fence == ARGV[2] then
  return 1
end
if state == 'canceled' and fence == ARGV[2] then
  return 2
end
if state ~= 'processing' or fence ~= ARGV[2] then
  return 0
end
local clock = redis.call('TIME')
local due_ms = clock[1] * 1000 + math.floor(clock[2] / 1000) + ARGV[3]
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('HDEL', KEYS[1], 'owner', 'lease_ms')
redis.call('HINCRBY', KEYS[1], 'version', 1)
if canceled == '1' then
  -- Somebody asked for its end while it ran: there is nothing to try again.
  redis.call('HSET', KEYS[1], 'state', 'canceled', 'finished_ms', due_ms - ARGV[3])
  return 2
end
-- rung_ms 0: the housekeeper rings it as soon as it is due.
redis.call('HSET', KEYS[1], 'state', 'queued', 'frames_done', 0, 'rung_ms', 0, 'rings', 0, 'last_error', ARGV[4])
redis.call('ZADD', KEYS[2], due_ms, ARGV[1])
return 1
