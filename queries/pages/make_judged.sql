-- Grain: a position after BOS of a test sequence of the set all_positions, numbered by `place`, once for each draw of them.
-- Reads: judged_lists, tokens
-- Makes: judged
CREATE OR REPLACE TEMP TABLE judged AS
WITH draws AS (
    SELECT DISTINCT
        scope,
        seed,
        held_out
    FROM judged_lists
),

sequences AS (
    SELECT
        d.scope,
        t.seq_id
    FROM draws AS d
    CROSS JOIN tokens AS t
    WHERE t.pos = 0 AND sequence_split(d.seed, t.seq_id) = 'test'
    QUALIFY
        row_number() OVER (PARTITION BY d.scope ORDER BY mix32(mix32(d.seed) + t.seq_id), t.seq_id)
        <= any_value(d.held_out) OVER (PARTITION BY d.scope)
)

SELECT
    (row_number() OVER (ORDER BY s.scope, t.seq_id, t.pos) - 1)::INTEGER AS place,
    s.scope,
    t.seq_id,
    t.pos
FROM sequences AS s
INNER JOIN tokens AS t ON s.seq_id = t.seq_id
WHERE t.pos > 0;
