-- Append events to a generation's log, if the writer's revision is the open one, and publish them.
--
-- The keys of a generation share a hash tag, so they live on one node. <ns> is the deployment's namespace.
--   <ns>:{<generation>}:log    stream; the id of an entry is the event's id <epoch>-<n>, field e its payload
--   <ns>:{<generation>}:meta   hash; epoch: the open revision; before: how many entries the log had when it was opened
--   <ns>:{<generation>}:live   channel; a message is "<epoch>-<n> <payload>"
-- Both keys carry a time to live from the moment they exist.
--
-- KEYS  log, meta
-- ARGV  channel, epoch, first (n of the first payload), ttl in ms (0 leaves it), payload ...
-- Replies {status, top}
--   OK        everything up to top is in the log; events it already had were not added again
--   FENCED    a later revision is open (top: its epoch); the writer has been replaced
--   UNOPENED  this revision was never opened here (top: the open epoch)
--   GAP       the log ends at top and the payloads begin later; resend from top + 1
--   LOST      the log is gone, or has a hole; prove the lease, open again, resend from 0
-- Without payloads it changes only the time to live: a cheap check that the revision is still the open one.
--
-- A writer whose last append was replied to with OK on this connection may add just the next event with a plain XADD
-- NOMKSTREAM of its id, and publish it when that is in the log: Redis itself refuses an id that is there already or
-- belongs to a revision that has been replaced (open.lua). After any other reply, and once a second, the writer runs
-- this script to learn the position of the log; docs/decisions/0024.
local log, meta = KEYS[1], KEYS[2]
local channel, epoch, first, ttl = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local state = redis.call('HMGET', meta, 'epoch', 'before')
if not state[1] then return {'LOST', 0} end
local open, top = tonumber(state[1]), -1
local newest = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
if newest then
  local revision, n = string.match(newest[1], '^(%d+)-(%d+)$')
  if tonumber(revision) == open then top = tonumber(n) end
end
if epoch < open then return {'FENCED', open} end
if epoch > open then return {'UNOPENED', open} end
if redis.call('XLEN', log) ~= tonumber(state[2]) + top + 1 then
  -- Something was lost and the newest event is behind it: nobody could read on from there.
  redis.call('DEL', log, meta)
  return {'LOST', 0}
end
if #ARGV > 4 and first > top + 1 then return {'GAP', top} end
local last = #ARGV > 4 and first + #ARGV - 5 or top
for n = top + 1, last do
  local id = ARGV[2] .. '-' .. string.format('%d', n)
  local payload = ARGV[5 + n - first]
  redis.call('XADD', log, id, 'e', payload)
  redis.call('PUBLISH', channel, id .. ' ' .. payload)
end
local grown = last > top
if grown then top = last end
if ttl > 0 then
  redis.call('PEXPIRE', log, ttl)
  redis.call('PEXPIRE', meta, ttl)
elseif grown and redis.call('PTTL', log) < 0 then
  redis.call('PEXPIRE', log, redis.call('PTTL', meta))
end
return {'OK', top}
