-- Remove the records whose time is over.
-- ARGV: at most how many, life of a tombstone in ms
-- Returns their ids.
local now = now_ms()
local ids = redis.call('ZRANGEBYSCORE', EXPIRY, '-inf', now, 'LIMIT', 0, ARGV[1])
for _, id in ipairs(ids) do
  remove(id, now, tonumber(ARGV[2]))
end
return ids
