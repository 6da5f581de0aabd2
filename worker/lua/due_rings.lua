-- Which queued animations need their doorbell rung (again)? A message can be lost between broker and worker.
-- The wait doubles with every ring, so that a long queue does not flood the broker; and none is rung while far more
-- messages lie there than animations wait, because those will call the workers.
-- ARGV: at most how many, first wait in ms
-- Returns their ids, and notes that they are rung now.
if redis.call('LLEN', BELLS) > 2 * redis.call('ZCARD', QUEUED) + 100 then
  return {}
end
local now = now_ms()
local ids = redis.call('ZRANGEBYSCORE', RINGS, '-inf', now, 'LIMIT', 0, ARGV[1])
for _, id in ipairs(ids) do
  local rings = redis.call('HINCRBY', JOB .. id, 'rings', 1)
  redis.call('ZADD', RINGS, now + ARGV[2] * 2 ^ math.min(rings - 1, 6), id)
end
return ids
