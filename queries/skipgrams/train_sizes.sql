-- Grain: a mined feature, with the number of train positions after BOS and of those where it is active.
-- Reads: mined_features, sequence_splits, tokens, train_active
SELECT
    f.feature,
    (
        SELECT count(*) FROM tokens AS t
        WHERE t.pos > 0 AND t.seq_id IN (SELECT s.seq_id FROM sequence_splits AS s WHERE s.split = 'train')
    ) AS n_positions,
    coalesce(a.n_active, 0) AS n_active
FROM mined_features AS f
LEFT JOIN (
    SELECT
        feature,
        count(*) AS n_active
    FROM train_active
    GROUP BY feature
) AS a ON f.feature = a.feature
ORDER BY f.feature;
