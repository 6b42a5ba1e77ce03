-- Grain: a feature of a page and one of 20 equal bins of its activations after BOS.
-- Reads: output_activations, output_features
SELECT
    a.feature,
    least(19, floor(20 * a.activation / f.max_activation))::INTEGER AS bin,
    count(*) AS n
FROM output_activations AS a
INNER JOIN output_features AS f ON a.layer = f.layer AND a.head = f.head AND a.feature = f.feature
WHERE
    a.layer = $layer AND a.head = $head AND a.pos > 0
    AND a.feature IN (SELECT unnest($features::INTEGER[]) AS feature)
GROUP BY ALL
ORDER BY ALL;
