-- Grain: a judged position: what attention carries to it that is the same for every token, once divided by the scale of
-- the layer norm and once not; with the attention computed from the features and with the model's own. Nothing is carried
-- to a position none of whose sources is stored.
-- Reads: attended, judged, token_scales
SELECT
    j.place,
    any_value(j.scope) AS scope,
    coalesce(exact_sum(a.weight_from_features), 0) AS weight_from_features,
    coalesce(exact_sum(a.weight_from_features / s.ln_scale_from_features), 0) AS scaled_from_features,
    coalesce(exact_sum(a.weight), 0) AS weight_by_model,
    coalesce(exact_sum(a.weight / s.ln_scale_from_features), 0) AS scaled_by_model
FROM judged AS j
LEFT JOIN attended AS a ON j.place = a.place
LEFT JOIN token_scales AS s ON s.layer = $layer AND a.seq_id = s.seq_id AND a.key_pos = s.pos
GROUP BY j.place
ORDER BY j.place;
