-- Grain: an input feature active at a judged position, limited to queries of the lists.
-- Reads: judged, lists, scaled_activations
-- Makes: query_side
CREATE OR REPLACE TEMP TABLE query_side AS
SELECT
    j.scope,
    j.place,
    i.feature AS query_feature,
    i.activation
FROM judged AS j
INNER JOIN scaled_activations AS i ON j.seq_id = i.seq_id AND j.pos = i.pos
SEMI JOIN lists AS r ON j.scope = r.scope AND i.feature = r.query_feature;
