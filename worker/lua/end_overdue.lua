-- End the animations whose deadline has passed, queued or running.
-- ARGV: at most how many, error
-- Returns their ids.
local now = now_ms()
local ids = redis.call('ZRANGEBYSCORE', DEADLINES, '-inf', now, 'LIMIT', 0, ARGV[1])
for _, id in ipairs(ids) do
  local canceled = redis.call('HGET', JOB .. id, 'cancel_requested')
  redis.call('HINCRBY', JOB .. id, 'fence', 1)
  finish(id, canceled == '1' and 'canceled' or 'failed', now, ARGV[2])
end
return ids
