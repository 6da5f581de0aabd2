-- Cancel: at once while it is queued; while it runs, raise the flag that its worker reads at every heartbeat.
-- ARGV: id
-- Returns the state afterwards, or '' when there is no such animation.
local key = JOB .. ARGV[1]
local state = redis.call('HGET', key, 'state')
if not state then
  return ''
end
if state == 'queued' then
  redis.call('HSET', key, 'cancel_requested', 1)
  finish(ARGV[1], 'canceled', now_ms())
  return 'canceled'
end
if state == 'processing' and redis.call('HGET', key, 'cancel_requested') ~= '1' then
  redis.call('HSET', key, 'cancel_requested', 1)
  redis.call('HINCRBY', key, 'version', 1)
end
return state
