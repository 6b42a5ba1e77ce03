-- Grain: an input feature active at a position that the queries of rules are chosen from.
-- Reads: gate_positions, input_activations
SELECT
    p.place,
    i.feature AS query_feature
FROM gate_positions AS p
INNER JOIN input_activations AS i ON p.seq_id = i.seq_id AND p.pos = i.pos
WHERE i.layer = $layer
ORDER BY p.place, i.feature;
