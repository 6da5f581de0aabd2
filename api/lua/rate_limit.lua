-- Let a request pass, or say how long to wait. For every quota one number is kept: the moment at which all of it would
-- be there again. Each request moves it by window/quota, and one that would move it more than a window ahead must wait.
-- So a client may use a whole quota at once, and gets it back evenly; nothing happens at the full minute.
-- KEYS: one for each quota   ARGV: window in ms, then a quota for each key
-- Returns the wait in ms (0: pass), then for each quota how many are left and in how many ms all of it is back.
-- Requests that must wait cost nothing.
local clock = redis.call('TIME')
local now_us = clock[1] * 1000000 + clock[2]
local window_us = ARGV[1] * 1000
local answer, full_us, wait_us = {0}, {}, 0
for i, key in ipairs(KEYS) do
  local step_us = window_us / ARGV[i + 1]
  local before_us = math.max(tonumber(redis.call('GET', key) or 0), now_us)
  full_us[i] = before_us + step_us
  wait_us = math.max(wait_us, full_us[i] - now_us - window_us)
end
for i, key in ipairs(KEYS) do
  local step_us = window_us / ARGV[i + 1]
  if wait_us > 0 then
    full_us[i] = full_us[i] - step_us
  else
    redis.call('SET', key, string.format('%.0f', full_us[i]), 'PX', math.ceil((full_us[i] - now_us) / 1000))
  end
  answer[2 * i] = math.floor((window_us - (full_us[i] - now_us)) / step_us + 0.001)
  answer[2 * i + 1] = math.ceil((full_us[i] - now_us) / 1000)
end
answer[1] = math.ceil(wait_us / 1000)
return answer
