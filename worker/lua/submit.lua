-- Write the record of a new animation and put it in the queue, in one step.
-- ARGV: id, input, options, frames_total, context, client or '', deadline_ms (from now), retention_ms,
--       first ring after ms, id of the failed animation that this one retries or '', most queued or '' for no limit,
--       reserved key or '', its token, fingerprint of the request, life of the key in ms,
--       most that the client may have under way or '' for no limit
-- Returns an outcome, and with 'ok' the record:
--   ok        written; or one that exists already, as it is: the same call, or the animation of the same key
--   full      the queue is full; client_full: the client has as many under way as it may
--   not_dead  the failed animation is not on the dead list any more: somebody else retries it
--   key_held  another request of the same key is on its way; key_used: the key stands for another request;
--   key_gone  the animation of the key was removed
local id, client, retried, reserved = ARGV[1], ARGV[6], ARGV[10], ARGV[12]
local key, kept = JOB .. id, RESERVED .. reserved
if redis.call('EXISTS', key) == 1 then
  return {'ok', redis.call('HGETALL', key)}
end
if reserved ~= '' then
  local token, fingerprint, earlier = unpack(redis.call('HMGET', kept, 'token', 'fingerprint', 'id'))
  if earlier then
    if fingerprint ~= ARGV[14] then
      return {'key_used'}
    end
    local record = redis.call('HGETALL', JOB .. earlier)
    return #record > 0 and {'ok', record} or {'key_gone'}
  end
  if token and token ~= ARGV[13] then
    return {'key_held'}
  end
end
if ARGV[11] ~= '' and redis.call('ZCARD', QUEUED) >= tonumber(ARGV[11]) then
  return {'full'}
end
if client ~= '' and ARGV[16] ~= '' and redis.call('SCARD', CLIENT .. client .. ':live') >= tonumber(ARGV[16]) then
  return {'client_full'}
end
if retried ~= '' and redis.call('ZREM', DEAD, retried) == 0 then
  return {'not_dead'}
end
local now = now_ms()
count('submitted')
redis.call('HSET', key,
  'id', id, 'state', 'queued', 'version', 1, 'attempt', 0, 'fence', 0,
  'created_ms', now, 'deadline_ms', now + ARGV[7], 'retention_ms', ARGV[8], 'rings', 1, 'cancel_requested', 0,
  'frames_done', 0, 'frames_total', ARGV[4], 'input', ARGV[2], 'options', ARGV[3], 'context', ARGV[5])
redis.call('ZADD', QUEUED, now, id)
redis.call('ZADD', RINGS, now + ARGV[9], id)
redis.call('ZADD', DEADLINES, now + ARGV[7], id)
for _, index in ipairs(indexes(id, client ~= '' and client)) do
  redis.call('ZADD', index, 0, id)
end
if client ~= '' then
  redis.call('HSET', key, 'client', client)
  redis.call('SADD', CLIENT .. client .. ':live', id)
end
if reserved ~= '' then
  redis.call('HSET', kept, 'id', id, 'fingerprint', ARGV[14])
  redis.call('HDEL', kept, 'token')
  redis.call('PEXPIRE', kept, ARGV[15])
end
return {'ok', redis.call('HGETALL', key)}
