-- Reads entries of one log, and whether nothing is missing before them, in one step.
-- docs/broker-envelope.md says what the strings are.
--
-- KEYS: the log, its head, the secret for positions before the first entry.
-- ARGV: ttl in ms, a secret if there is none, the channel, the most entries, the bytes of envelopes with which
-- a page ends, and a position, or 'oldest'; without it the newest entries are meant.
-- Returns the position of the newest entry, behind it '1' where nothing is missing, else '0'; then the entries.
-- Nothing is stored for a log that nobody has appended to.
local log, head, secrets = KEYS[1], KEYS[2], KEYS[3]
local ttl, channel, most, bytes_max = tonumber(ARGV[1]), ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local position, is_oldest = ARGV[6], ARGV[6] == 'oldest'

local state = redis.call('HMGET', head, 'top', 'born')
local top, born = state[1], tonumber(state[2] or 0)
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function is_old(frame)
    return now - struct.unpack('>I8', frame, 26) >= ttl
end

local function collect(command, from, to)
    local frames, bytes = {}, 0
    while #frames < most do
        local count = math.min(16, most - #frames)
        local found = redis.call(command, log, from, to, 'COUNT', count)
        for _, entry in ipairs(found) do
            local frame = entry[2][2]
            -- Behind a position that is not too old nothing is, whatever the clock has done meanwhile.
            local too_old = (not position or is_oldest) and is_old(frame)
            if bytes >= bytes_max or too_old and not is_oldest then
                return frames
            end
            if not too_old then
                frames[#frames + 1] = frame
                bytes = bytes + #frame - 49
            end
            from = '(' .. entry[1]
        end
        if #found < count then
            return frames
        end
    end
    return frames
end

if not top then
    local before_first = origin(secrets, ARGV[2], channel, week_of(now))
    return { before_first .. ((not position or is_oldest or position == before_first) and '1' or '0') }
end

if not position then
    local newest = collect('XREVRANGE', '+', '-')
    local answer = { top .. '1' }
    for at = #newest, 1, -1 do
        answer[#answer + 1] = newest[at]
    end
    return answer
end

if is_oldest then
    local answer = collect('XRANGE', '-', '+')
    table.insert(answer, 1, top .. '1')
    return answer
end

local offset = struct.unpack('>I8', position, 9)
local id = string.format('%.0f-0', offset)
local recovered = position == top
local is_of_count = position:sub(1, 8) == top:sub(1, 8) and offset <= struct.unpack('>I8', top, 9)
if not recovered and is_of_count and offset > 0 then
    local entry = redis.call('XRANGE', log, id, id)[1]
    recovered = entry and entry[2][2]:sub(34, 49) == position:sub(17) and not is_old(entry[2][2])
elseif not recovered and is_of_count and position == origin(secrets, ARGV[2], channel, born) then
    local oldest = redis.call('XRANGE', log, '-', '+', 'COUNT', 1)[1]
    recovered = oldest and oldest[1] == '1-0' and not is_old(oldest[2][2])
end
if not recovered then
    return { top .. '0' }
end
local answer = collect('XRANGE', '(' .. id, '+')
table.insert(answer, 1, top .. '1')
return answer
