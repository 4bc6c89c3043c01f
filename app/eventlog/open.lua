-- Open a revision: from here on every append of an earlier one is refused. Keys as in append.lua.
--
-- KEYS  log, meta
-- ARGV  epoch, ttl in ms
-- Replies {'OK', top} (top -1: nothing appended yet; opening twice is the same as once) or {'FENCED', open epoch}
local log, meta = KEYS[1], KEYS[2]
local epoch, ttl = tonumber(ARGV[1]), tonumber(ARGV[2])
local open = tonumber(redis.call('HGET', meta, 'epoch'))
if open and open > epoch then return {'FENCED', open} end
local top, newest = -1, -1
local entry = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
if entry then
  local revision, n = string.match(entry[1], '^(%d+)-(%d+)$')
  newest = tonumber(revision)
  if newest == epoch then top = tonumber(n) end
end
if open ~= epoch then
  local before = 0
  if open and entry and newest < epoch then
    before = redis.call('XLEN', log)
    -- The fence of plain XADDs: a stream takes no id that is not above its last one.
    redis.call('XSETID', log, string.format('%d', epoch - 1) .. '-18446744073709551615')
  else
    -- A log without its meta, or with events of a revision that was not open, is a remnant: its ids could collide
    -- with what is resent.
    redis.call('DEL', log)
    top = -1
  end
  redis.call('HSET', meta, 'epoch', epoch, 'before', before)
end
redis.call('PEXPIRE', meta, ttl)
redis.call('PEXPIRE', log, ttl)
return {'OK', top}
