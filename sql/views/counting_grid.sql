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
COMMENT ON COLUMN counting_grid.layer IS 'Layer, 0-based';
COMMENT ON COLUMN counting_grid.head IS 'Attention head within the layer, 0-based; -1: the SAE over the whole layer';
COMMENT ON COLUMN counting_grid.feature IS 'Feature of the output SAE of this head, or of the layer';
COMMENT ON COLUMN counting_grid.scaling IS 'Scaling of the scores that chose the pair: paper or model';
COMMENT ON COLUMN counting_grid.pair IS 'Pair of the counting rule that is tested';
COMMENT ON COLUMN counting_grid.n_key IS 'Copies of the token of the key that were inserted';
COMMENT ON COLUMN counting_grid.n_opponent IS 'Copies of the token of its opponent that were inserted';
COMMENT ON COLUMN counting_grid.n_examples IS 'Sequences in which they were inserted';
COMMENT ON COLUMN counting_grid.mean_activation IS 'Mean activation of the output feature over these sequences, 0 where it is not active';
COMMENT ON COLUMN counting_grid.active_share IS 'Share of these sequences in which it is active';
