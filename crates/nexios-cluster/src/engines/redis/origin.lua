-- The position before the first entry of a log. It is derived from a secret, so that nothing is stored for a room
-- that nobody has used. A head outlives its entries by a week and more, so two counts of a log never begin
-- in the same week, unless somebody has deleted one.
local function week_of(now)
    return math.floor(now / 604800000)
end

local function origin(secrets, new_secret, channel, week)
    local secret = redis.call('GET', secrets)
    if not secret then
        secret = new_secret
        redis.call('SET', secrets, secret)
    end
    local function digest(what)
        local inner = redis.sha1hex(secret .. string.format('%s %.0f ', what, week) .. channel)
        return (string.gsub(redis.sha1hex(secret .. inner), '..', function(byte)
            return string.char(tonumber(byte, 16))
        end))
    end
    return digest('epoch'):sub(1, 8) .. string.rep('\0', 8) .. digest('nonce'):sub(1, 16)
end

