-- Grain: an input feature active at or before a judged position, limited to keys of the lists. Largest and smallest
-- activation both: where attention times value is negative, the smallest gives the largest score.
-- Reads: judged, lists, scaled_activations
-- Makes: key_side
CREATE OR REPLACE TEMP TABLE key_side AS
SELECT
    j.scope,
    j.place,
    i.feature AS key_feature,
    max(i.activation) AS largest,
    min(i.activation) AS smallest
FROM judged AS j
INNER JOIN scaled_activations AS i ON j.seq_id = i.seq_id AND j.pos >= i.pos
SEMI JOIN lists AS r ON j.scope = r.scope AND i.feature = r.key_feature
WHERE i.pos > 0 OR $bos_keys
GROUP BY j.scope, j.place, i.feature;
