-- What several scripts do with a record. Every record that is not final is in exactly one of two sets: QUEUED (and then
-- in RINGS, by the time its doorbell is next to be rung) or LEASES.

-- What happened so far, for the metrics: in the step in which it happens, so that no crash can make them differ.
local function count(field, by)
  redis.call('HINCRBY', COUNTS, field, by or 1)
end

-- A duration, in the first bucket that it fits into (WAIT_BUCKETS: upper ends in seconds).
local function count_duration(name, duration_ms)
  local bucket = 'inf'
  for _, upper_s in ipairs(WAIT_BUCKETS) do
    if duration_ms <= 1000 * upper_s then
      bucket = string.format('%g', upper_s)
      break
    end
  end
  count(name .. '|' .. bucket)
  count(name .. '|sum_ms', math.max(0, math.floor(duration_ms)))
end

-- Where an id is listed by its age: all of its kind, and those of its client.
local function indexes(id, client)
  local is_motion = string.sub(id, 1, 4) == 'mot_'
  local all = is_motion and MOTIONS or INDEX
  return client and {all, CLIENT .. client .. (is_motion and ':motions' or ':index')} or {all}
end

-- Out of every set of work to be done.
local function leave_lines(id)
  redis.call('ZREM', QUEUED, id)
  redis.call('ZREM', RINGS, id)
  redis.call('ZREM', LEASES, id)
end

-- (Back) into the queue; nobody owns it, and the doorbell is rung when it is due.
local function enqueue(id, due_ms)
  redis.call('ZREM', LEASES, id)
  redis.call('HDEL', JOB .. id, 'owner', 'lease_ms')
  redis.call('HINCRBY', JOB .. id, 'version', 1)
  redis.call('HSET', JOB .. id, 'state', 'queued', 'frames_done', 0, 'rings', 0)
  redis.call('ZADD', QUEUED, due_ms, id)
  redis.call('ZADD', RINGS, due_ms, id)
end

-- Into the outbox, when somebody wants to be told of this end: in the same step that makes it the end.
local function announce(id, state, at_ms, context)
  local webhook = context and cjson.decode(context).webhook
  if type(webhook) ~= 'table' then
    return
  end
  for _, wanted in ipairs(webhook.states) do
    if wanted == state then
      redis.call('ZADD', OUTBOX, at_ms, id)
    end
  end
end

-- The one way into a final state. `error` is JSON, and only for 'failed'.
local function finish(id, state, at_ms, error)
  local key = JOB .. id
  count('finished|' .. state .. '|' .. (state == 'failed' and cjson.decode(error).code or ''))
  local client, retention_ms, context = unpack(redis.call('HMGET', key, 'client', 'retention_ms', 'context'))
  announce(id, state, at_ms, context)
  leave_lines(id)
  redis.call('ZREM', DEADLINES, id)
  redis.call('HDEL', key, 'owner', 'lease_ms')
  redis.call('HINCRBY', key, 'version', 1)
  redis.call('HSET', key, 'state', state, 'finished_ms', at_ms, 'expires_ms', at_ms + retention_ms)
  redis.call('ZADD', EXPIRY, at_ms + retention_ms, id)
  if client then
    redis.call('SREM', CLIENT .. client .. ':live', id)
  end
  if state == 'failed' then
    redis.call('HSET', key, 'error', error)
    redis.call('ZADD', DEAD, at_ms, id)
  end
end

-- The record is gone; TRASH remembers that its objects are still to be deleted. A tombstone, when it shall have one,
-- names the client it belonged to.
local function remove(id, at_ms, tombstone_ms)
  local client = redis.call('HGET', JOB .. id, 'client')
  leave_lines(id)
  for _, set in ipairs({DEADLINES, EXPIRY, DEAD, OUTBOX}) do
    redis.call('ZREM', set, id)
  end
  for _, index in ipairs(indexes(id, client)) do
    redis.call('ZREM', index, id)
  end
  if client then
    redis.call('SREM', CLIENT .. client .. ':live', id)
  end
  redis.call('DEL', JOB .. id)
  redis.call('ZADD', TRASH, at_ms, id)
  if tombstone_ms > 0 then
    redis.call('SET', GONE .. id, client or '', 'PX', tombstone_ms)
  end
end
