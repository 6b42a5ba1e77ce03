-- Grain: an atom and a position after BOS of a sequence that is judged, at which a member of the atom's set is.
-- Reads: input_activations, read_members, read_sequences, read_tokens
-- Makes: read_hits
CREATE OR REPLACE TEMP TABLE read_hits AS
WITH wanted AS (
    SELECT DISTINCT
        member_layer,
        member
    FROM read_members
    WHERE kind = 'feature'
),

active AS MATERIALIZED (
    SELECT
        s.scope,
        i.layer,
        i.seq_id,
        i.pos,
        i.feature,
        i.activation
    FROM input_activations AS i
    SEMI JOIN wanted AS w ON i.layer = w.member_layer AND i.feature = w.member
    INNER JOIN read_sequences AS s ON i.seq_id = s.seq_id
    WHERE i.pos > 0
)

SELECT
    m.rule,
    m.atom,
    t.seq_id,
    t.pos
FROM read_members AS m
INNER JOIN read_tokens AS t ON m.scope = t.scope AND m.member = t.token_id
WHERE m.kind = 'token' AND t.pos > 0
UNION
SELECT
    m.rule,
    m.atom,
    a.seq_id,
    a.pos
FROM read_members AS m
INNER JOIN active AS a ON m.scope = a.scope AND m.member_layer = a.layer AND m.member = a.feature AND m.above < a.activation
WHERE m.kind = 'feature';
