-- Who follows the feed of one conversation, over all processes.
--
--   <ns>:{<conversation>}:presence   sorted set; a member is one connection, its score the time in ms until which it counts
-- Whoever serves a connection renews its score; a process that dies leaves nothing that lasts longer than the ttl.
--
-- KEYS  presence
-- ARGV  ttl in ms, number of connections that have left, those, then the connections that are there
-- Answers how many there are now, and how many there were.
local presence, ttl, left = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local before = redis.call('ZCARD', presence)
for i = 3, 2 + left do redis.call('ZREM', presence, ARGV[i]) end
redis.call('ZREMRANGEBYSCORE', presence, '-inf', now)
for i = 3 + left, #ARGV do redis.call('ZADD', presence, now + ttl, ARGV[i]) end
if #ARGV > 2 + left then redis.call('PEXPIRE', presence, ttl) end
return {redis.call('ZCARD', presence), before}
