-- Grain: a judged position at which a feature with a rule to read is active.
-- Reads: judged, output_activations, read_rules
-- Makes: read_truth
CREATE OR REPLACE TEMP TABLE read_truth AS
SELECT
    a.feature,
    j.place,
    a.activation
FROM output_activations AS a
SEMI JOIN read_rules AS r ON a.feature = r.feature
INNER JOIN judged AS j ON a.seq_id = j.seq_id AND a.pos = j.pos
WHERE a.layer = $layer AND a.head = $head AND j.scope = 0;
