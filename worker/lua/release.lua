-- Put animations whose owner has fallen silent back in the queue (or end them, when they were to be canceled).
-- KEYS: queued, leases   ARGV: prefix of the job keys, at most how many
-- Returns the ids that are queued again.
local clock = redis.call('TIME')
local now_ms = clock[1] * 1000 + math.floor(clock[2] / 1000)
local silent = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', '(' .. now_ms, 'LIMIT', 0, ARGV[2])
local released = {}
for _, id in ipairs(silent) do
  local key = ARGV[1] .. id
  redis.call('ZREM', KEYS[2], id)
  if redis.call('HGET', key, 'state') == 'processing' then
    redis.call('HDEL', key, 'owner', 'lease_ms')
    redis.call('HINCRBY', key, 'version', 1)
    if redis.call('HGET', key, 'cancel_requested') == '1' then
      redis.call('HSET', key, 'state', 'canceled', 'finished_ms', now_ms)
    else
      -- The fence moves on, so that a worker which was only frozen finds the door shut when it wakes.
      redis.call('HINCRBY', key, 'fence', 1)
      redis.call('HSET', key, 'state', 'queued', 'frames_done', 0, 'rung_ms', 0, 'rings', 0)
      redis.call('ZADD', KEYS[1], now_ms, id)
      released[#released + 1] = id
    end
  end
end
return released
