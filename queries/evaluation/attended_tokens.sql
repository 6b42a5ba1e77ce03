-- Grain: a judged position and a token that it attends to, with the attention computed from the features and with the
-- model's own.
-- Reads: attended
SELECT
    place,
    65536 * seq_id::BIGINT + key_pos AS token,
    weight_from_features,
    weight AS weight_by_model
FROM attended
ORDER BY place, token;
