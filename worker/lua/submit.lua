-- Write the record of a new animation and put it in the queue, in one step.
-- KEYS: job, queued, index   ARGV: id, input, options, frames_total, context
-- Returns the record; one that exists already is returned as it is (a repeated call changes nothing).
if redis.call('EXISTS', KEYS[1]) == 1 then
  return redis.call('HGETALL', KEYS[1])
end
local clock = redis.call('TIME')
local now_ms = clock[1] * 1000 + math.floor(clock[2] / 1000)
redis.call('HSET', KEYS[1],
  'id', ARGV[1], 'state', 'queued', 'version', 1, 'attempt', 0, 'fence', 0,
  'created_ms', now_ms, 'rung_ms', now_ms, 'rings', 1, 'cancel_requested', 0,
  'frames_done', 0, 'frames_total', ARGV[4], 'input', ARGV[2], 'options', ARGV[3], 'context', ARGV[5])
redis.call('ZADD', KEYS[2], now_ms, ARGV[1])
redis.call('ZADD', KEYS[3], 0, ARGV[1])
return redis.call('HGETALL', KEYS[1])
