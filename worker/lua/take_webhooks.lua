-- Take webhooks whose time has come. Each is put off while it is being delivered, so that no other process takes it, and
-- somebody does when this one dies. The attempt is counted here, before anything is sent.
-- ARGV: at most how many, put off by ms
-- Returns id, attempt, id, attempt ...
local now = now_ms()
local answer = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', OUTBOX, '-inf', now, 'LIMIT', 0, ARGV[1])) do
  redis.call('ZADD', OUTBOX, now + ARGV[2], id)
  answer[#answer + 1] = id
  answer[#answer + 1] = redis.call('HINCRBY', JOB .. id, 'webhook_attempts', 1)
end
return answer
