-- Grain: a candidate key and a position that the queries of rules are chosen from: G[q,i] (method.md section 3.5). Where a
-- feature is active its own keys are asked for, at the positions that serve every feature those of all.
-- Reads: attention_sources, candidate_keys, gate_positions, input_activations, token_scales
WITH wanted AS (
    SELECT
        feature::BIGINT AS scope,
        key_feature
    FROM candidate_keys
    UNION
    SELECT
        -1 AS scope,
        key_feature
    FROM candidate_keys
),

-- Filtered before attention meets it: few features are keys where few features are mined.
keys AS (
    SELECT
        i.seq_id,
        i.pos,
        i.feature,
        i.activation,
        s.ln_scale_from_features AS scale
    FROM input_activations AS i
    INNER JOIN token_scales AS s ON i.layer = s.layer AND i.seq_id = s.seq_id AND i.pos = s.pos
    WHERE
        i.layer = $layer
        AND s.layer = $layer
        AND i.seq_id IN (SELECT p.seq_id FROM gate_positions AS p)
        AND i.feature IN (SELECT c.key_feature FROM candidate_keys AS c)
)

SELECT
    p.place,
    i.feature AS key_feature,
    exact_sum(a.weight_from_features * i.activation / i.scale) AS amount
FROM gate_positions AS p
INNER JOIN attention_sources AS a ON p.seq_id = a.seq_id AND p.pos = a.query_pos
INNER JOIN keys AS i ON a.seq_id = i.seq_id AND a.key_pos = i.pos
SEMI JOIN wanted AS w ON p.scope = w.scope AND i.feature = w.key_feature
WHERE a.layer = $layer AND a.head = $head AND (a.key_pos > 0 OR $bos_keys)
GROUP BY p.place, i.feature
ORDER BY p.place, i.feature;
