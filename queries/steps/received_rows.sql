-- Grain: an input feature and a judged position that attention carries it to.
SELECT
    r.place,
    r.scope,
    r.key_feature,
    r.amount_from_features,
    r.amount_by_model
FROM received AS r;
