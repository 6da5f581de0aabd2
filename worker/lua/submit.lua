-- Write the record of a new animation and put it in the queue, in one step.
-- ARGV: id, input, options, frames_total, context, client or '', deadline_ms (from now), retention_ms,
--       first ring after ms, id of the failed animation that this one retries or ''
-- Returns the record; one that exists already is returned as it is (a repeated call changes nothing). Returns nothing
-- when the failed animation is not on the dead list any more: somebody else retries it.
local id, client, retried = ARGV[1], ARGV[6], ARGV[10]
local key = JOB .. id
if redis.call('EXISTS', key) == 1 then
  return redis.call('HGETALL', key)
end
if retried ~= '' and redis.call('ZREM', DEAD, retried) == 0 then
  return {}
end
local now = now_ms()
redis.call('HSET', key,
  'id', id, 'state', 'queued', 'version', 1, 'attempt', 0, 'fence', 0,
  'created_ms', now, 'deadline_ms', now + ARGV[7], 'retention_ms', ARGV[8], 'rings', 1, 'cancel_requested', 0,
  'frames_done', 0, 'frames_total', ARGV[4], 'input', ARGV[2], 'options', ARGV[3], 'context', ARGV[5])
redis.call('ZADD', QUEUED, now, id)
redis.call('ZADD', RINGS, now + ARGV[9], id)
redis.call('ZADD', DEADLINES, now + ARGV[7], id)
redis.call('ZADD', INDEX, 0, id)
if client ~= '' then
  redis.call('HSET', key, 'client', client)
  redis.call('SADD', CLIENT .. client .. ':live', id)
  redis.call('ZADD', CLIENT .. client .. ':index', 0, id)
end
return redis.call('HGETALL', key)
