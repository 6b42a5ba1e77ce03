-- Grain: a sequence that a mined feature is active in, with its largest activation and the first position of it.
-- Reads: mined_features, output_activations
-- Makes: feature_sequences
CREATE OR REPLACE TEMP TABLE feature_sequences AS
WITH active AS (
    SELECT
        a.feature,
        a.seq_id,
        a.pos,
        a.activation
    FROM output_activations AS a
    SEMI JOIN mined_features AS f ON a.feature = f.feature
    WHERE a.layer = $layer AND a.head = $head
)

SELECT
    a.feature,
    a.seq_id,
    max(a.activation) AS activation,
    min(a.pos) FILTER (WHERE a.activation = m.largest) AS pos
FROM active AS a
INNER JOIN (
    SELECT
        feature,
        seq_id,
        max(activation) AS largest
    FROM active
    GROUP BY feature, seq_id
) AS m ON a.feature = m.feature AND a.seq_id = m.seq_id
GROUP BY a.feature, a.seq_id;
