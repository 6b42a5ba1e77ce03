-- How a head attends: by distance, with the entropy of its attention.
-- Group: heads
-- $layer = 0: layer of the head
-- $head = 0: a head of the model
-- $limit = 20: number of distances, the nearest
SELECT
    distance,
    round(share, 4) AS share,
    round(sum(share) OVER (ORDER BY distance), 4) AS share_so_far,
    round(entropy, 3) AS entropy
FROM head_attention($layer, $head)
ORDER BY distance
LIMIT $limit;
