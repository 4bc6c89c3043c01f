-- The breakers of targets, shared by all workers: the moves of app/domain/breaker.py.
--
--   KEYS   hashes with failures, failed_since, open_until, probe_until, openings; a missing field is 0
-- All keys share one hash tag. Times are ms. A key expires when its failures and its opening are long past.
--
-- ARGV  now in ms (0: the server's clock), then
--   'admit', ms of a probe
--       Replies {place, openings, probe, wait}: the first key that admits a call, from 1, with the number of its
--       opening and 1 for a probe; place 0 when none does, and the ms until the first one does.
--   'ok' | 'failed' | 'released', openings, ms of Retry-After, failures that open, ms of the window, ms of an opening
--       The result of a call of KEYS[1]. Replies {1 when it has opened, openings, 0, 0}.
local TTL = 86400000
local now = tonumber(ARGV[1])
if now == 0 then
    local time = redis.call('TIME')
    now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function read(key)
    local f = redis.call('HMGET', key, 'failures', 'failed_since', 'open_until', 'probe_until', 'openings')
    return tonumber(f[1] or 0), tonumber(f[2] or 0), tonumber(f[3] or 0), tonumber(f[4] or 0), tonumber(f[5] or 0)
end
-- Numbers of this size are written by the format: Lua would write an exponent.
local function write(key, until_ms, ...)
    local arguments = {...}
    for i = 2, #arguments, 2 do arguments[i] = string.format('%.0f', arguments[i]) end
    redis.call('HSET', key, unpack(arguments))
    redis.call('PEXPIRE', key, string.format('%.0f', math.max(0, until_ms - now) + TTL))
end

if ARGV[2] == 'admit' then
    local soonest = -1
    for place, key in ipairs(KEYS) do
        local _, _, open_until, probe_until, openings = read(key)
        if open_until == 0 then return {place, openings, 0, 0} end
        local wait = math.max(0, open_until - now, probe_until - now)
        if wait == 0 then
            write(key, now, 'probe_until', now + tonumber(ARGV[3]))
            return {place, openings, 1, 0}
        end
        if soonest < 0 or wait < soonest then soonest = wait end
    end
    return {0, 0, 0, soonest}
end

local key, result, told = KEYS[1], ARGV[2], tonumber(ARGV[4])
local most, window, open_for = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local failures, since, open_until, _, openings = read(key)
local is_open = open_until > 0
if is_open and tonumber(ARGV[3]) ~= openings then return {0, openings, 0, 0} end
if result == 'released' then
    if is_open then write(key, open_until, 'probe_until', 0) end
    return {0, openings, 0, 0}
end
if result == 'ok' then
    if is_open or failures > 0 then
        write(key, now, 'failures', 0, 'failed_since', 0, 'open_until', 0, 'probe_until', 0)
    end
    return {0, openings, 0, 0}
end
if failures == 0 or now - since > window then
    failures, since = 1, now
else
    failures = failures + 1
end
if not is_open and failures < most and told == 0 then
    write(key, now, 'failures', failures, 'failed_since', since)
    return {0, openings, 0, 0}
end
local span = told
if is_open or failures >= most then span = math.max(told, open_for) end
openings = openings + 1
write(key, now + span, 'failures', failures, 'failed_since', since, 'open_until', now + span, 'probe_until', 0,
    'openings', openings)
return {1, openings, 0, 0}
