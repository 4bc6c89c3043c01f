-- A place among the open streams of one user, over all processes.
--
--   <ns>:streams:<user>   sorted set; a member is one open stream, its score the time in ms until which it counts
-- Whoever serves a stream renews its score; a process that dies leaves nothing that lasts longer than the ttl.
--
-- KEYS  places
-- ARGV  limit (0: renew only), ttl in ms, number of streams that have ended, those, then the streams that are open
-- Answers 1, or 0 when the user has as many as the limit already and nothing was added.
local places, limit, ttl, ended = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
for i = 4, 3 + ended do redis.call('ZREM', places, ARGV[i]) end
redis.call('ZREMRANGEBYSCORE', places, '-inf', now)
if #ARGV == 3 + ended then return 1 end
if limit > 0 and redis.call('ZCARD', places) >= limit then return 0 end
for i = 4 + ended, #ARGV do redis.call('ZADD', places, now + ttl, ARGV[i]) end
redis.call('PEXPIRE', places, ttl)
return 1
