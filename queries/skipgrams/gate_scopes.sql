-- Grain: a position that the queries of rules are chosen from, in order of place.
-- Reads: gate_positions
SELECT scope
FROM gate_positions
ORDER BY place;
