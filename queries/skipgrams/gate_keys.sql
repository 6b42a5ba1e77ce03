-- Grain: a candidate key active at a token of a sequence that the queries of rules are chosen from; its activation over the
-- layer norm's scale, both as computed from the features.
-- Reads: candidate_keys, gate_positions, input_activations, token_scales
SELECT
    65536 * i.seq_id::BIGINT + i.pos AS token,
    i.feature,
    i.activation::DOUBLE / s.ln_scale_from_features AS activation
FROM input_activations AS i
INNER JOIN token_scales AS s ON i.layer = s.layer AND i.seq_id = s.seq_id AND i.pos = s.pos
WHERE
    i.layer = $layer
    AND s.layer = $layer
    AND i.seq_id IN (SELECT p.seq_id FROM gate_positions AS p)
    AND i.feature IN (SELECT c.key_feature FROM candidate_keys AS c)
ORDER BY token, i.feature;
