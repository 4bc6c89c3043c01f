-- Counts one request in a moving window, unless the window is full.
--
-- KEYS[1]: the times of the counted requests, the newest first; the list of the library `limits`.
-- ARGV: the time now and the length of the window in seconds, the number of requests that it may have.
-- Reply: 1 when the request was counted, or 0; the requests in the window now; the time of the oldest of them, or "".
local now, length, limit = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])

local function counts(index)
  local at = redis.call('LINDEX', KEYS[1], index)
  return at and tonumber(at) >= now - length
end

local counted = 0
if not counts(limit - 1) then
  counted = 1
  redis.call('LPUSH', KEYS[1], ARGV[1])
  redis.call('LTRIM', KEYS[1], 0, limit - 1)
  redis.call('EXPIRE', KEYS[1], length)
end

-- The times fall along the list, so the last one inside the window is found by halving.
local first, last = 0, redis.call('LLEN', KEYS[1]) - 1
while first <= last do
  local middle = math.floor((first + last) / 2)
  if counts(middle) then first = middle + 1 else last = middle - 1 end
end
return {counted, first, first > 0 and redis.call('LINDEX', KEYS[1], first - 1) or ''}
