-- Grain: an input feature active at or before the query position of an example, limited to keys of the feature's rules.
-- Largest and smallest activation both: where attention times value is negative, the smallest gives the largest score.
CREATE OR REPLACE TEMP TABLE key_side AS
SELECT
    e.feature,
    e.seq_id,
    e.pos,
    i.feature AS key_feature,
    max(i.activation) AS largest,
    min(i.activation) AS smallest
FROM examples AS e
INNER JOIN scaled_activations AS i ON e.seq_id = i.seq_id AND e.pos >= i.pos
SEMI JOIN (
    SELECT DISTINCT
        r.feature,
        r.key_feature
    FROM rules AS r
    SEMI JOIN mined_features AS f ON r.feature = f.feature
    WHERE r.layer = $layer AND r.head = $head AND r.scaling = $scaling
) AS k ON e.feature = k.feature AND i.feature = k.key_feature
WHERE
    e.layer = $layer AND e.head = $head AND e.example_set = 'paper'
    AND (i.pos > 0 OR $bos_keys)
GROUP BY e.feature, e.seq_id, e.pos, i.feature;
