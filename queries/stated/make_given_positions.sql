-- Grain: a position after BOS of a sequence that does not come from the warehouse.
-- Reads: read_tokens
-- Makes: judged
CREATE OR REPLACE TEMP TABLE judged AS
SELECT
    (row_number() OVER (ORDER BY seq_id, pos) - 1)::INTEGER AS place,
    scope,
    seq_id,
    pos
FROM read_tokens
WHERE pos > 0;
