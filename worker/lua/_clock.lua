-- The one clock: Redis's own, in milliseconds since 1970. (Tests put another in its place.)
local function now_ms()
  local clock = redis.call('TIME')
  return clock[1] * 1000 + math.floor(clock[2] / 1000)
end
