-- Members that expire unless they are renewed, counted over all processes: open streams of a user, followers of a feed.
--
--   KEYS[1]   sorted set; the score of a member is the time in ms until which it counts
-- The process that serves a member renews its score. What a dead process held is free after the ttl.
--
-- ARGV  limit (0: none), ttl in ms, number of members that have left, those, then the members that are there
-- Replies {admitted, now, before}: 1, or 0 when there are as many as the limit already and nothing was added; how many
-- members there are now; how many there were before.
local members, limit, ttl, left = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local before = redis.call('ZCARD', members)
for i = 4, 3 + left do redis.call('ZREM', members, ARGV[i]) end
redis.call('ZREMRANGEBYSCORE', members, '-inf', now)
local count = redis.call('ZCARD', members)
if #ARGV == 3 + left then return {1, count, before} end
if limit > 0 and count >= limit then return {0, count, before} end
for i = 4 + left, #ARGV do redis.call('ZADD', members, now + ttl, ARGV[i]) end
redis.call('PEXPIRE', members, ttl)
return {1, redis.call('ZCARD', members), before}
