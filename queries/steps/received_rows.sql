-- Grain: an input feature and a judged position that attention carries it to, position after position.
SELECT
    r.scope,
    r.seq_id,
    r.pos,
    r.key_feature,
    r.amount_from_features,
    r.amount_by_model
FROM received AS r
ORDER BY r.scope, r.seq_id, r.pos;
