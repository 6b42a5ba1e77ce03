-- Grain: a rule and a judged position at which it holds: one of a sequence and at most $n_examples of a rule, in a seeded
-- draw.
-- Reads: judged, read_matches
-- Makes: trial_examples
CREATE OR REPLACE TEMP TABLE trial_examples AS
WITH one_of_sequence AS (
    SELECT
        m.rule,
        j.place,
        j.scope,
        j.seq_id,
        j.pos,
        mix32(mix32($seed) + j.seq_id) AS draw
    FROM read_matches AS m
    INNER JOIN judged AS j ON m.place = j.place
    QUALIFY row_number() OVER (PARTITION BY m.rule, j.seq_id ORDER BY mix32(mix32($seed + 1) + j.pos), j.pos) = 1
)

FROM one_of_sequence
QUALIFY row_number() OVER (PARTITION BY rule ORDER BY draw, seq_id) <= $n_examples;
