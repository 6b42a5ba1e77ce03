-- Grain: an input feature active at a token of a judged sequence.
-- Reads: scaled_activations
SELECT
    65536 * seq_id::BIGINT + pos AS token,
    feature,
    activation
FROM scaled_activations
ORDER BY token, feature;
