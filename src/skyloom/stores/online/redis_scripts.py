"""What runs inside of Redis, in Lua: each script is one moment, and nothing comes between its lines."""

FETCH = """
local values, at = {}, #KEYS
for i, key in ipairs(KEYS) do
  local last = at + tonumber(ARGV[i])
  for from = at + 1, last, 4000 do
    local part = redis.call('HMGET', key, unpack(ARGV, from, math.min(from + 3999, last)))
    for j = 1, #part do values[#values + 1] = part[j] end
  end
  at = last
end
return values
"""
"""KEYS: hashes. ARGV: how many fields of each, then all those fields. Returns their values, in order."""

SCAN = """
local keys = redis.call('ZRANGEBYLEX', KEYS[1], ARGV[1], ARGV[2], 'LIMIT', 0, ARGV[3])
if #keys == 0 then return {{}, {}} end
return {keys, redis.call('HMGET', KEYS[2], unpack(keys))}
"""
"""KEYS: a space's order and its values. ARGV: from, to (as of ZRANGEBYLEX), how many at most (4,000 or less)."""

BEGIN = """
local holder = redis.call('GET', KEYS[1])
if not holder then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  holder = ARGV[1]
end
return {holder, redis.call('GET', KEYS[2]) or ''}
"""
"""KEYS: the turn, the commit. ARGV: the writer's token, its lease in ms. Returns whose turn it is, and the last commit."""

END = """
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
"""
"""KEYS: the turn. ARGV: the token whose turn ends, if it still is."""

COMMIT = """
local found = redis.call('GET', KEYS[2]) or ''
if found == ARGV[3] then return 1 end
if found ~= ARGV[2] then return 0 end
local at = 4
local function many(command, key, last)
  for from = at, last, 4000 do
    redis.call(command, key, unpack(ARGV, from, math.min(from + 3999, last)))
  end
  at = last + 1
end
for i = 3, #KEYS do
  local key, command, keep, count = KEYS[i], ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2])
  at = at + 3
  if command == 'UNLINK' then
    redis.call('UNLINK', key)
  elseif command == 'HSET' then
    local there = redis.call('EXISTS', key) == 1
    many('HSET', key, at + count - 1)
    if keep == '' then
      redis.call('PERSIST', key)
    elseif not there then
      redis.call('PEXPIRE', key, keep)
    else
      local left = redis.call('PTTL', key)
      if left >= 0 and left < tonumber(keep) then redis.call('PEXPIRE', key, keep) end
    end
  else
    many(command, key, at + count - 1)
  end
end
redis.call('SET', KEYS[2], ARGV[3])
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1
"""
"""The fence: KEYS: the turn, the commit, then one key for each step. ARGV: the writer's token, the commit it began at, the
commit it makes, then for each step its command, how long to keep the key in ms ('': for good), how many words, and those.
Returns 0, with nothing written, when another commit came between. Sent again after its answer was lost, it does nothing.
An entity's hash is kept as long as the longest of its groups asks for."""
