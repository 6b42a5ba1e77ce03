-- Grain of the update: an output feature of $layer and a head that it reads. Runs after the counts are renewed. Of an SAE
-- that reads one head nothing was summed: an activation is the contribution of the head and a constant.
-- Reads: feature_heads, output_features
-- Writes: feature_heads
WITH brought AS (
    SELECT
        h.layer,
        h.head,
        h.feature,
        h.through_head,
        CASE
            WHEN h.head >= 0 THEN f.mean_activation - f.preactivation_bias
            ELSE h.total_contribution / nullif(f.n_tokens, 0)
        END AS mean_contribution
    FROM feature_heads AS h
    INNER JOIN output_features AS f ON h.layer = f.layer AND h.head = f.head AND h.feature = f.feature
    WHERE h.layer = $layer
),

sizes AS (
    SELECT
        layer,
        head,
        feature,
        exact_sum(abs(mean_contribution)) AS size
    FROM brought
    WHERE head < 0
    GROUP BY layer, head, feature
)

UPDATE feature_heads SET
    mean_contribution = c.mean_contribution,
    data_share = c.data_share
FROM (
    SELECT
        b.layer,
        b.head,
        b.feature,
        b.through_head,
        b.mean_contribution,
        CASE
            WHEN b.head >= 0 THEN 1
            ELSE abs(b.mean_contribution) / nullif(s.size, 0)
        END AS data_share
    FROM brought AS b
    LEFT JOIN sizes AS s ON b.layer = s.layer AND b.head = s.head AND b.feature = s.feature
) AS c
WHERE
    feature_heads.layer = c.layer
    AND feature_heads.head = c.head
    AND feature_heads.feature = c.feature
    AND feature_heads.through_head = c.through_head;
