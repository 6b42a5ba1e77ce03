-- A 32-bit mixing function that gives the same numbers on every machine and version (DuckDB's own hash() may change
-- between releases): the finaliser of MurmurHash3, whose products of 32-bit numbers fit in 64 bits.
-- Unsigned inside, for the products; the result is a BIGINT, as every number of a warehouse is signed.
-- The steps are macros of their own because each uses its argument twice.
CREATE MACRO mix32_first(x) AS (xor(x, x >> 16) * 2246822507) & 4294967295;
CREATE MACRO mix32_second(x) AS (xor(x, x >> 13) * 3266489909) & 4294967295;
CREATE MACRO mix32_third(x) AS xor(x, x >> 16);
CREATE MACRO mix32(x) AS main.mix32_third(main.mix32_second(main.mix32_first((x::BIGINT & 4294967295)::UBIGINT)))::BIGINT;
COMMENT ON MACRO mix32 IS 'Mixes a number into 32 pseudo-random bits, the same on every machine: mix32(seed + id)';
COMMENT ON MACRO mix32_first IS 'First step of mix32';
COMMENT ON MACRO mix32_second IS 'Second step of mix32';
COMMENT ON MACRO mix32_third IS 'Third step of mix32';
