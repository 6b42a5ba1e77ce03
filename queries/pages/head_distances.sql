-- Grain: a distance of up to 16 tokens that a head looks back.
SELECT
    distance,
    share,
    entropy
FROM head_attention($layer, $head)
WHERE distance <= 16
ORDER BY distance;
