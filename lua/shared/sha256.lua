-- SHA-256 (FIPS 180-4), of which a server's Lua has none, made for the links of a chain.
--
-- Words are the signed 32-bit integers of the library bit, or what is equal to them modulo 2^32.
-- Where a pretended server has no such library, arithmetic does the same, slowly.

-- The operations on words: those of the library bit, or their like bit by bit.
local function word_operations()
  if bit then
    return bit
  end
  local function by_bit(decide)
    return function(first, ...)
      local result = first % 4294967296
      for _, word in ipairs({ ... }) do
        local left, right, place, made = result, word % 4294967296, 1, 0
        for _ = 1, 32 do
          made = made + decide(left % 2, right % 2) * place
          left, right, place = math.floor(left / 2), math.floor(right / 2), place * 2
        end
        result = made
      end
      return result
    end
  end
  local function rshift(word, places)
    return math.floor(word % 4294967296 / 2 ^ places)
  end
  return {
    band = by_bit(function(left, right) return left * right end),
    bxor = by_bit(function(left, right) return (left + right) % 2 end),
    rshift = rshift,
    ror = function(word, places)
      local unsigned = word % 4294967296
      return rshift(unsigned, places) + unsigned % 2 ^ places * 2 ^ (32 - places)
    end,
    tobit = function(word) return word % 4294967296 end,
    tohex = function(word) return string.format('%08x', word % 4294967296) end,
  }
end

-- The first 32 bits of the fractional parts of the cube roots of the first 64 primes, and of the
-- square roots of the first 8.
local function sha256_constants()
  return {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
  }, {
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
  }
end

-- Returns a function of two digests in hex and a short text: the SHA-256, in hex, of the digests'
-- 64 bytes and the text.
local function sha256_of_two_digests_and_text()
  local words = word_operations()
  local band, bxor, ror, rshift, tobit = words.band, words.bxor, words.ror, words.rshift, words.tobit
  local round_constants, initial = sha256_constants()

  local function compress(state, block)
    for i = 17, 64 do
      local fifteen, two = block[i - 15], block[i - 2]
      block[i] = tobit(
        block[i - 16] + bxor(ror(fifteen, 7), ror(fifteen, 18), rshift(fifteen, 3))
          + block[i - 7] + bxor(ror(two, 17), ror(two, 19), rshift(two, 10))
      )
    end
    local a, b, c, d, e, f, g, h = unpack(state)
    for i = 1, 64 do
      local one = h + bxor(ror(e, 6), ror(e, 11), ror(e, 25)) + bxor(g, band(e, bxor(f, g)))
        + round_constants[i] + block[i]
      local two = bxor(ror(a, 2), ror(a, 13), ror(a, 22)) + bxor(band(a, b), band(c, bxor(a, b)))
      h, g, f, e, d, c, b, a = g, f, e, tobit(d + one), c, b, a, tobit(one + two)
    end
    for position, word in ipairs({ a, b, c, d, e, f, g, h }) do
      state[position] = tobit(state[position] + word)
    end
  end

  return function(digest, other, text)
    local state, block = { unpack(initial) }, {}
    for _, hex in ipairs({ digest, other }) do
      for from = 1, 57, 8 do
        block[#block + 1] = tonumber(string.sub(hex, from, from + 7), 16)
      end
    end
    compress(state, block)
    local bits = (64 + #text) * 8
    local padded = text .. '\128' .. string.rep('\0', (55 - #text) % 64 + 4)
      .. string.char(
        math.floor(bits / 16777216) % 256, math.floor(bits / 65536) % 256,
        math.floor(bits / 256) % 256, bits % 256
      )
    for from = 1, #padded, 64 do
      block = {}
      for place = from, from + 60, 4 do
        local one, two, three, four = string.byte(padded, place, place + 3)
        block[#block + 1] = ((one * 256 + two) * 256 + three) * 256 + four
      end
      compress(state, block)
    end
    for position, word in ipairs(state) do
      state[position] = words.tohex(word)
    end
    return table.concat(state)
  end
end
