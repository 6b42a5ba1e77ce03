-- Grain: a run of tokens near one of the three strongest examples of a feature: the active token, a source that brings a tenth
-- or more of what raises the feature there, or the text between these; from 24 tokens before to 4 after.
-- Reads: output_activations, tokens, vocabulary
WITH strongest AS (
    SELECT
        seq_id,
        arg_max(pos, (activation, -pos)) AS pos,
        max(activation) AS activation
    FROM output_activations
    WHERE layer = $layer AND head = $head AND feature = $feature
    GROUP BY seq_id
    ORDER BY activation DESC, seq_id ASC
    LIMIT 3
),

sources AS (
    SELECT
        e.seq_id,
        d.key_pos,
        exact_sum(d.contribution_from_features) AS contribution
    FROM strongest AS e
    CROSS JOIN LATERAL (FROM dfa($layer, $head, $feature, e.seq_id, e.pos)) AS d
    WHERE d.key_pos > 0
    GROUP BY e.seq_id, d.key_pos
),

shares AS (
    SELECT
        seq_id,
        key_pos,
        contribution / sum(contribution) OVER (PARTITION BY seq_id) AS share
    FROM sources
    WHERE contribution > 0
),

near AS (
    SELECT
        e.seq_id,
        e.pos AS example_pos,
        e.activation,
        t.pos,
        v.token,
        v.token_bytes,
        t.pos = e.pos AS is_here,
        coalesce(s.share >= 0.1, FALSE) AS is_source
    FROM strongest AS e
    INNER JOIN tokens AS t ON e.seq_id = t.seq_id AND e.pos <= t.pos + 24 AND e.pos >= t.pos - 4
    INNER JOIN vocabulary AS v ON t.token_id = v.token_id
    LEFT JOIN shares AS s ON t.seq_id = s.seq_id AND t.pos = s.key_pos
),

counted AS (
    SELECT
        *,
        count(*) FILTER (WHERE is_here OR is_source) OVER (PARTITION BY seq_id ORDER BY pos) AS n_marked
    FROM near
)

SELECT
    seq_id,
    example_pos,
    activation,
    min(pos) AS pos,
    is_here,
    is_source,
    joined_text(token, token_bytes, pos) AS text
FROM counted
GROUP BY seq_id, example_pos, activation, n_marked, is_here, is_source
ORDER BY activation DESC, seq_id ASC, min(pos) ASC;
