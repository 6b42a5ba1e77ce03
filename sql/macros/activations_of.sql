-- Grain: an activation of an output feature, BOS left out, in its context.
CREATE MACRO activations_of(of_layer, of_head, of_feature) AS TABLE
WITH given (layer, head, feature) AS (SELECT of_layer, of_head, of_feature),

active AS (
    SELECT
        a.seq_id,
        a.pos,
        a.activation,
        percent_rank() OVER (ORDER BY a.activation) AS weaker
    FROM given AS g
    INNER JOIN main.output_activations AS a ON g.layer = a.layer AND g.head = a.head AND g.feature = a.feature
    WHERE a.pos > 0
)

SELECT
    a.seq_id,
    a.pos,
    a.activation,
    a.weaker,
    c.before,
    c.token,
    c.after
FROM active AS a
CROSS JOIN LATERAL (SELECT f.before, f.token, f.after FROM main.context_at(a.seq_id, a.pos) AS f) AS c
UNION ALL BY NAME
-- A branch of its own: an error that is raised wherever the rows are looked for, and when there are none.
SELECT g.layer::VARCHAR AS token
FROM given AS g
WHERE NOT main.answers_here('$warehouse')
ORDER BY activation DESC, seq_id ASC, pos ASC;
COMMENT ON MACRO TABLE activations_of IS 'Where an output feature is active, strongest first, with the text before and after and the share of its activations that are weaker: FROM activations_of(layer, head, feature)';
