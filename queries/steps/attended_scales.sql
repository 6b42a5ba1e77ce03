-- Grain: a judged position: what attention carries to it that is the same for every token, once divided by the scale of
-- the layer norm and once not; with the attention computed from the features and with the model's own.
SELECT
    j.place,
    any_value(j.scope) AS scope,
    sum(a.weight_from_features) AS weight_from_features,
    sum(a.weight_from_features / s.ln_scale_from_features) AS scaled_from_features,
    sum(a.weight) AS weight_by_model,
    sum(a.weight / s.ln_scale_from_features) AS scaled_by_model
FROM judged AS j
INNER JOIN attention_sources AS a ON j.seq_id = a.seq_id AND j.pos = a.query_pos
INNER JOIN token_scales AS s ON a.layer = s.layer AND a.seq_id = s.seq_id AND a.key_pos = s.pos
WHERE a.layer = $layer AND a.head = $head
GROUP BY j.place
ORDER BY j.place;
