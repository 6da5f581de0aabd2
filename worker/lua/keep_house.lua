-- Whether one process may do a duty that only one may do at a time.
-- ARGV: name of the duty, name of the process, for how many ms
-- Returns 1 when the duty is this process's for that long from now.
local holder = redis.call('GET', DUTY .. ARGV[1])
if holder and holder ~= ARGV[2] then
  return 0
end
redis.call('SET', DUTY .. ARGV[1], ARGV[2], 'PX', ARGV[3])
return 1
