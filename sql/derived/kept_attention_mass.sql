-- Grain of the update: a head of $layer. A query position none of whose sources is stored counts as mass 0.
-- Reads: attention_sources, tokens
-- Writes: heads
WITH kept AS (
    SELECT
        layer,
        head,
        exact_sum(weight::DOUBLE) AS mass,
        exact_sum(weight_from_features::DOUBLE) AS mass_from_features
    FROM attention_sources
    WHERE layer = $layer
    GROUP BY layer, head
),

positions AS (SELECT count(*) AS n FROM tokens)

UPDATE heads SET
    kept_attention_mass = kept.mass / positions.n,
    kept_attention_mass_from_features = kept.mass_from_features / positions.n
FROM kept, positions
WHERE heads.layer = kept.layer AND heads.head = kept.head;
