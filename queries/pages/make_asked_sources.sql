-- Grain: a source of an example, through one head.
-- Reads: asked_examples
-- Makes: asked_sources
CREATE OR REPLACE TEMP TABLE asked_sources AS
SELECT
    e.feature,
    e.seq_id,
    e.pos AS example_pos,
    d.key_pos,
    d.through_head,
    d.weight,
    d.contribution_from_features
FROM asked_examples AS e
CROSS JOIN LATERAL (FROM dfa($layer, $head, e.feature, e.seq_id, e.pos)) AS d;
