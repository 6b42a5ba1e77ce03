-- Grain of the update: an output feature of a layer-wide SAE and a head that it reads, of which a chunk brings contributions.
-- Reads: added_contributions
-- Writes: feature_heads
UPDATE feature_heads SET total_contribution = feature_heads.total_contribution + a.units / 16777216
FROM (
    SELECT
        layer,
        feature,
        through_head,
        sum(units) AS units
    FROM added_contributions
    GROUP BY layer, feature, through_head
) AS a
WHERE
    feature_heads.layer = a.layer
    AND feature_heads.head = -1
    AND feature_heads.feature = a.feature
    AND feature_heads.through_head = a.through_head;
