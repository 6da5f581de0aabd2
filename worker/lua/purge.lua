-- Remove a record, whatever its state: a worker that still runs it finds its fence refused.
-- ARGV: id, life of the tombstone in ms (0: none)
-- Returns 1, or 0 when there is no such record (a repeated call).
if redis.call('EXISTS', JOB .. ARGV[1]) == 0 then
  return 0
end
remove(ARGV[1], now_ms(), tonumber(ARGV[2]))
return 1
