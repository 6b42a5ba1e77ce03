-- How far back the heads of a feature look where it is active, beside anywhere.
-- Group: one feature
-- $layer = 0: layer of the feature
-- $head = 0: head of the feature; -1 where its SAE reads the whole layer
-- $feature = 0: the output feature
-- $limit = 20: number of distances, those with most attention
SELECT
    through_head,
    distance,
    round(attention, 4) AS attention,
    round(attention_everywhere, 4) AS attention_everywhere,
    round(attention / nullif(attention_everywhere, 0), 2) AS times
FROM source_distances($layer, $head, $feature) AS d
ORDER BY d.attention DESC, through_head ASC, distance ASC
LIMIT $limit;
