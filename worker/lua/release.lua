-- Put animations whose owner has fallen silent back in the queue, or end them, when they were to be canceled or have
-- been tried often enough.
-- ARGV: at most how many, max_attempts, error of a given-up job
-- Returns two lists of ids: those that are queued again, and those that were given up.
local now = now_ms()
local released, given_up = {}, {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', LEASES, '-inf', '(' .. now, 'LIMIT', 0, ARGV[1])) do
  local attempt, canceled = unpack(redis.call('HMGET', JOB .. id, 'attempt', 'cancel_requested'))
  -- The fence moves on, so that a worker which was only frozen finds the door shut when it wakes.
  redis.call('HINCRBY', JOB .. id, 'fence', 1)
  if canceled == '1' then
    finish(id, 'canceled', now)
  elseif tonumber(attempt) >= tonumber(ARGV[2]) then
    finish(id, 'failed', now, ARGV[3])
    given_up[#given_up + 1] = id
  else
    enqueue(id, now)
    count('redelivered|lease_expired')
    released[#released + 1] = id
  end
end
return {released, given_up}
