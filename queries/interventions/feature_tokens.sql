-- Grain: an input feature of $features and a token on which it fires after BOS: its activation, summed.
-- Reads: input_activations, tokens
SELECT
    a.feature,
    t.token_id,
    exact_sum(a.activation::DOUBLE) AS activation
FROM input_activations AS a
INNER JOIN tokens AS t ON a.seq_id = t.seq_id AND a.pos = t.pos
WHERE
    a.layer = $layer
    AND a.pos > 0
    AND a.feature IN (SELECT unnest($features::INTEGER[]))
GROUP BY a.feature, t.token_id
ORDER BY a.feature, t.token_id;
