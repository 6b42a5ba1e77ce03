-- Grain: a position to judge rules on, numbered by `place`. `scope` is the feature whose example it is; in the set
-- all_positions the positions are the same for every feature, and the scope is 0.
-- Reads: examples, held_out_positions, mined_features
-- Makes: judged
CREATE OR REPLACE TEMP TABLE judged AS
SELECT
    (row_number() OVER (ORDER BY p.scope, p.seq_id, p.pos) - 1)::INTEGER AS place,
    p.scope,
    p.seq_id,
    p.pos,
    p.split::ENUM('train', 'val', 'test') AS split
FROM (
    SELECT
        e.feature AS scope,
        e.seq_id,
        e.pos,
        e.split
    FROM examples AS e
    SEMI JOIN mined_features AS f ON e.feature = f.feature
    WHERE e.layer = $layer AND e.head = $head AND e.example_set = $example_set
    UNION ALL
    SELECT
        0 AS scope,
        h.seq_id,
        h.pos,
        h.split
    FROM held_out_positions AS h
    WHERE $example_set = 'all_positions'
) AS p;
