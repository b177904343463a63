-- Looks for entries of one log that are appended once more, from the newest on: a part of the log in each run,
-- so that others get their turn.
--
-- KEYS: the log.
-- ARGV: where to begin ('+', or what the run before has returned), the most entries of this run, the age in ms
-- at which to end; then the nonces that are wanted.
-- Returns where to go on, or '' at the end; then the positions that were found.
local log, from, most, age = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local wanted, missing = {}, #ARGV - 3
for at = 4, #ARGV do
    wanted[ARGV[at]] = true
end

local answer, seen = { '' }, 0
while seen < most and missing > 0 do
    local count = math.min(512, most - seen)
    local found = redis.call('XREVRANGE', log, from, '-', 'COUNT', count)
    for _, entry in ipairs(found) do
        local frame = entry[2][2]
        if now - struct.unpack('>I8', frame, 26) > age then
            return answer
        end
        local nonce = frame:sub(34, 49)
        if wanted[nonce] then
            answer[#answer + 1] = frame:sub(2, 17) .. nonce
            missing = missing - 1
        end
        from = '(' .. entry[1]
    end
    if #found < count then
        return answer
    end
    seen = seen + count
end
if missing > 0 then
    answer[1] = from
end
return answer
