-- Grain: an input feature and a judged position that attention carries it to. `amount` is G[q,i] of method.md section 3.5,
-- of the keys of the lists, without BOS as a key unless asked for. Activations are those divided by the scale computed
-- from the reconstruction.
-- Reads: attended, lists, scaled_activations
-- Makes: received
CREATE OR REPLACE TEMP TABLE received AS
WITH wanted AS (
    SELECT DISTINCT
        scope,
        key_feature
    FROM lists
),

-- Filtered before attention meets it: few features are keys where few features are mined.
keys AS (
    SELECT
        s.seq_id,
        s.pos,
        s.feature,
        s.activation
    FROM scaled_activations AS s
    WHERE s.feature IN (SELECT w.key_feature FROM wanted AS w)
)

SELECT
    a.scope,
    a.place,
    i.feature AS key_feature,
    exact_sum(a.weight_from_features * i.activation) AS amount
FROM attended AS a
INNER JOIN keys AS i ON a.seq_id = i.seq_id AND a.key_pos = i.pos
SEMI JOIN wanted AS w ON a.scope = w.scope AND i.feature = w.key_feature
WHERE a.key_pos > 0 OR $bos_keys
GROUP BY a.scope, a.place, i.feature
-- The sums over keys that are taken of this then meet one position after another, and stay in cache.
ORDER BY a.scope, a.place;
