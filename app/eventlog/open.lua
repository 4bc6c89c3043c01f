-- Open a revision: from here on every append of an earlier one is refused. Keys as in append.lua.
--
-- KEYS  log, meta
-- ARGV  epoch, ttl in ms
-- Answers {'OK', top} (top -1: nothing appended yet; opening twice is the same as once) or {'FENCED', open epoch}
local log, meta = KEYS[1], KEYS[2]
local epoch, ttl = tonumber(ARGV[1]), tonumber(ARGV[2])
local state = redis.call('HMGET', meta, 'epoch', 'n')
local top = -1
if not state[1] then
  -- A log without its meta is a remnant: its ids could collide with what is resent.
  redis.call('DEL', log)
elseif tonumber(state[1]) > epoch then
  return {'FENCED', tonumber(state[1])}
elseif tonumber(state[1]) == epoch then
  top = tonumber(state[2])
end
redis.call('HSET', meta, 'epoch', epoch, 'n', top)
redis.call('PEXPIRE', meta, ttl)
redis.call('PEXPIRE', log, ttl)
return {'OK', top}
