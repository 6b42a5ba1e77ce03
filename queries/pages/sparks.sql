-- Grain: an output feature of a head that fires after BOS, with the shape of its activations: of 16 equal bins up to the largest
-- one the number in each, as a digit from 0 to 9, the fullest bin being 9 and one that holds anything at least 1.
-- Reads: output_activations, output_features
WITH bins AS (
    SELECT
        a.feature,
        least(15, floor(16 * a.activation / f.max_activation))::INTEGER AS bin,
        count(*) AS n
    FROM output_activations AS a
    INNER JOIN output_features AS f ON a.layer = f.layer AND a.head = f.head AND a.feature = f.feature
    WHERE a.layer = $layer AND a.head = $head AND a.pos > 0
    GROUP BY ALL
),

heights AS (
    SELECT
        feature,
        bin,
        ceil(9 * n / max(n) OVER (PARTITION BY feature))::INTEGER AS height
    FROM bins
)

SELECT
    f.feature,
    string_agg(coalesce(h.height, 0)::VARCHAR, '' ORDER BY b.bin) AS spark
FROM (SELECT DISTINCT feature FROM heights) AS f
CROSS JOIN (SELECT unnest(range(16))::INTEGER AS bin) AS b
LEFT JOIN heights AS h ON f.feature = h.feature AND b.bin = h.bin
GROUP BY f.feature
ORDER BY f.feature;
