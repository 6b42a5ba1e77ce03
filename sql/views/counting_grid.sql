-- Grain: a cell of the counting grid of a rule.
CREATE VIEW counting_grid AS
SELECT
    layer,
    head,
    feature,
    scaling,
    pair,
    n_key,
    n_changed AS n_opponent,
    count(*) AS n_examples,
    avg(activation) AS mean_activation,
    avg((activation > 0)::DOUBLE) AS active_share
FROM interventions
WHERE experiment = 'counting' AND arm = 'grid'
GROUP BY layer, head, feature, scaling, pair, n_key, n_changed;
COMMENT ON VIEW counting_grid IS 'What an output feature does with n_key copies of the key and n_opponent of its opponent inserted';
