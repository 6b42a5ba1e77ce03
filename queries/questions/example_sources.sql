-- Why a feature is active at a position: each source that is attended to, with what it contributes.
-- Group: one position
-- $layer = 0: layer of the feature
-- $head = 0: head of the feature; -1 where its SAE reads the whole layer
-- $feature = 0: the output feature
-- $seq_id = 0: the sequence
-- $pos = 10: the position in it
-- The contributions, preactivation_bias and what SAE and --min-attention leave out make up the pre-activation.
SELECT
    s.key_pos,
    s.distance,
    token_label(s.token) AS token,
    s.through_head,
    round(s.weight, 4) AS attention,
    round(s.weight_from_features, 4) AS attention_from_features,
    round(s.contribution_from_features, 4) AS contribution,
    round(s.contribution_all_from_features, 4) AS contribution_all_from_features,
    round(y.activation, 4) AS activation,
    round(f.preactivation_bias, 4) AS bias
FROM dfa($layer, $head, $feature, $seq_id, $pos) AS s
INNER JOIN output_features AS f ON f.layer = $layer AND f.head = $head AND f.feature = $feature
LEFT JOIN output_activations AS y
    ON y.layer = $layer AND y.head = $head AND y.feature = $feature AND y.seq_id = $seq_id AND y.pos = $pos
ORDER BY abs(s.contribution_from_features) DESC, s.key_pos ASC, s.through_head ASC;
