-- Which queued animations need their doorbell rung (again)? A message can be lost between broker and worker.
-- The wait doubles with every ring, so that a long queue is not flooded with messages.
-- KEYS: queued   ARGV: prefix of the job keys, at most how many, first wait in ms
-- Returns their ids, and notes that they are rung now.
local clock = redis.call('TIME')
local now_ms = clock[1] * 1000 + math.floor(clock[2] / 1000)
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now_ms, 'LIMIT', 0, ARGV[2])
local ids = {}
for _, id in ipairs(due) do
  local key = ARGV[1] .. id
  local rung_ms, rings = unpack(redis.call('HMGET', key, 'rung_ms', 'rings'))
  if rung_ms then
    local wait_ms = ARGV[3] * 2 ^ math.min(tonumber(rings) - 1, 6)
    if rung_ms == '0' or now_ms - rung_ms >= wait_ms then
      redis.call('HSET', key, 'rung_ms', now_ms)
      redis.call('HINCRBY', key, 'rings', 1)
      ids[#ids + 1] = id
    end
  end
end
return ids
