-- Grain: a feature of a page, or -1 for anywhere, and one of the distances up to 16 that its head looks back.
-- Reads: drawn_sources
SELECT
    feature,
    distance,
    exact_sum(attention) AS attention
FROM drawn_sources
WHERE distance <= 16
GROUP BY feature, distance
ORDER BY feature, distance;
