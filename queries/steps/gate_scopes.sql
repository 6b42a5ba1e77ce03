-- Grain: a position that the queries of rules are chosen from, in order of place.
SELECT scope
FROM gate_positions
ORDER BY place;
