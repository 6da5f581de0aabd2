-- Cancel: at once while it is queued; while it runs, raise the flag that its worker reads at every heartbeat.
-- KEYS: job, queued   ARGV: id
-- Returns the state afterwards, or '' when there is no such animation.
local state = redis.call('HGET', KEYS[1], 'state')
if not state then
  return ''
end
if state == 'queued' then
  local clock = redis.call('TIME')
  redis.call('ZREM', KEYS[2], ARGV[1])
  redis.call('HINCRBY', KEYS[1], 'version', 1)
  redis.call('HSET', KEYS[1], 'state', 'canceled', 'cancel_requested', 1,
    'finished_ms', clock[1] * 1000 + math.floor(clock[2] / 1000))
  return 'canceled'
end
if state == 'processing' and redis.call('HGET', KEYS[1], 'cancel_requested') ~= '1' then
  redis.call('HSET', KEYS[1], 'cancel_requested', 1)
  redis.call('HINCRBY', KEYS[1], 'version', 1)
end
return state
