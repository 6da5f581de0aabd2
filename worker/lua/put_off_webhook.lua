-- Try a webhook again later; one that is not in the outbox any more stays out (its animation was removed).
-- ARGV: id, in how many ms
return redis.call('ZADD', OUTBOX, 'XX', now_ms() + ARGV[2], ARGV[1])
