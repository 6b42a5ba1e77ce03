-- Grain: an input feature active at the query position of an example.
CREATE OR REPLACE TEMP TABLE query_side AS
SELECT
    e.feature,
    e.seq_id,
    e.pos,
    i.feature AS query_feature,
    i.activation
FROM examples AS e
SEMI JOIN mined_features AS f ON e.feature = f.feature
INNER JOIN scaled_activations AS i ON e.seq_id = i.seq_id AND e.pos = i.pos
WHERE e.layer = $layer AND e.head = $head AND e.example_set = 'paper';
