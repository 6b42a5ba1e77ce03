-- A 32-bit mixing function that gives the same numbers on every machine and version (DuckDB's own hash() may change
-- between releases): the finaliser of MurmurHash3, whose products of 32-bit numbers fit in 64 bits.
-- Unsigned inside, for the products; the result is a BIGINT, as every number of a warehouse is signed.
-- Each step uses its argument twice. As an argument of the next one, an expression would be written out eight times, and where
-- mix32 is nested, as in sequence_split, 512 times, which took 60 ms to plan; as the element of a list it is written once.
CREATE MACRO mix32_first(x) AS (xor(x, x >> 16) * 2246822507) & 4294967295;
CREATE MACRO mix32_second(x) AS (xor(x, x >> 13) * 3266489909) & 4294967295;
CREATE MACRO mix32_third(x) AS xor(x, x >> 16);
CREATE MACRO mix32(x) AS list_transform(list_transform(list_transform(
    [(x::BIGINT & 4294967295)::UBIGINT],
    lambda mixed: main.mix32_first(mixed)), lambda mixed: main.mix32_second(mixed)), lambda mixed: main.mix32_third(mixed)
)[1]::BIGINT;
COMMENT ON MACRO mix32 IS 'Mixes a number into 32 pseudo-random bits, the same on every machine: mix32(seed + id)';
COMMENT ON MACRO mix32_first IS 'First step of mix32';
COMMENT ON MACRO mix32_second IS 'Second step of mix32';
COMMENT ON MACRO mix32_third IS 'Third step of mix32';
