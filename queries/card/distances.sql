-- Grain: a distance that the heads of a feature look back, with the attention there where it is active and anywhere.
SELECT
    distance,
    exact_sum(attention) AS attention,
    exact_sum(attention_everywhere) AS attention_everywhere
FROM source_distances($layer, $head, $feature)
WHERE distance <= 16
GROUP BY distance
ORDER BY distance;
