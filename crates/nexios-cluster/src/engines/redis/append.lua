-- Appends entries to one log, in order, each once: numbered, kept and published in one step.
-- docs/broker-envelope.md says what the strings are.
--
-- KEYS: the log, its head, the secret for positions before the first entry, then the keys of those entries that
-- have one.
-- ARGV: the channel, size, ttl in ms, ms for which the head is kept, a secret if there is none, '1' where
-- the entries may be there already; then for each entry its nonce, the number of its key in KEYS or 0,
-- and its envelope.
-- Returns for each entry its position, and behind it '1' where it was there before, else '0'.
local log, head = KEYS[1], KEYS[2]
local channel, size, ttl, kept, again = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[6] == '1'
local first, step = 7, 3

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local state = redis.call('HMGET', head, 'top', 'front', 'born')
local top, front, born = state[1], tonumber(state[2] or 0), state[3]
if not top then
    born = week_of(now)
    top = origin(KEYS[3], ARGV[5], channel, born)
    -- What is left of another count has nothing to do with this one.
    if redis.call('DEL', log) > 0 then
        top = redis.sha1hex(top .. ARGV[first]):sub(1, 8) .. top:sub(9)
    end
end
local epoch, offset = top:sub(1, 8), struct.unpack('>I8', top, 9)

local before = {}
if again then
    -- `find.lua` has looked for them; in a cluster what was under way then may have come since.
    for _, entry in ipairs(redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1024)) do
        local frame = entry[2][2]
        before[frame:sub(34, 49)] = frame:sub(2, 17) .. frame:sub(34, 49)
    end
end

-- As many from the front as come to the back, and some more: what is too old does not pile up. `front` is the
-- time of an entry that is or was the oldest, so that mostly nothing has to be read.
if now - front >= ttl then
    local old = {}
    front = now
    for _, entry in ipairs(redis.call('XRANGE', log, '-', '+', 'COUNT', (#ARGV + 1 - first) / step + 4)) do
        local time = struct.unpack('>I8', entry[2][2], 26)
        if now - time < ttl then
            front = time
            break
        end
        front = 0
        old[#old + 1] = entry[1]
    end
    if #old > 0 then
        redis.call('XDEL', log, unpack(old))
    end
end

local answers, frames = {}, {}
for at = first, #ARGV, step do
    local nonce, key, envelope = ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2]
    local position = key > 0 and redis.call('GET', KEYS[key]) or before[nonce]
    if position then
        answers[#answers + 1] = position .. '1'
    else
        local frame = '\2' .. epoch .. struct.pack('>I8I8I8', offset + 1, offset, now) .. nonce .. envelope
        offset = offset + 1
        redis.call('XADD', log, 'MAXLEN', size, string.format('%.0f-0', offset), 'e', frame)
        top = epoch .. struct.pack('>I8', offset) .. nonce
        if key > 0 then
            redis.call('SET', KEYS[key], top, 'PX', 300000)
        end
        frames[#frames + 1] = frame
        answers[#answers + 1] = top .. '0'
    end
end

if #frames > 0 then
    redis.call('HSET', head, 'top', top, 'front', string.format('%.0f', front), 'born', born)
    redis.call('PEXPIRE', head, kept)
    redis.call('PEXPIRE', log, ttl)
    for _, frame in ipairs(frames) do
        redis.call('SPUBLISH', channel, frame)
    end
end
return answers
