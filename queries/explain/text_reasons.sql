-- Grain: one of the six largest parts (method.md section 15.1) of the attention logit of a position of the text and of one of
-- the three tokens after BOS that get most of its attention.
-- Reads: read_tokens, text_attention, text_inputs, text_scales, vocabulary
WITH sources AS (
    SELECT
        key_pos,
        weight,
        weight_from_features
    FROM text_attention
    WHERE query_pos = $pos AND key_pos > 0
    ORDER BY weight DESC, key_pos DESC
    LIMIT 3
),

sides AS (
    SELECT
        s.pos,
        s.ln_scale_from_features AS scale,
        coalesce(list(i.feature ORDER BY i.feature) FILTER (WHERE i.feature IS NOT NULL), []) AS features,
        coalesce(list(i.activation ORDER BY i.feature) FILTER (WHERE i.feature IS NOT NULL), []) AS activations
    FROM text_scales AS s
    LEFT JOIN text_inputs AS i ON s.layer = i.layer AND s.pos = i.pos
    WHERE s.layer = $layer
    GROUP BY s.pos, s.ln_scale_from_features
)

SELECT
    s.key_pos,
    v.token AS key_token,
    s.weight AS attention,
    s.weight_from_features AS attention_from_features,
    t.key_feature,
    t.key_description,
    t.query_feature,
    t.query_description,
    t.logit
FROM sources AS s
INNER JOIN sides AS k ON s.key_pos = k.pos
INNER JOIN sides AS q ON q.pos = $pos
INNER JOIN read_tokens AS r ON s.key_pos = r.pos
INNER JOIN vocabulary AS v ON r.token_id = v.token_id
CROSS JOIN
    LATERAL (
        FROM logit_terms(
            $layer,
            $head,
            $pos - s.key_pos,
            k.features,
            k.activations,
            k.scale,
            q.features,
            q.activations,
            q.scale
        )
    ) AS t
QUALIFY
    row_number() OVER (
        PARTITION BY s.key_pos ORDER BY t.logit DESC, t.key_feature ASC, t.query_feature ASC
    ) <= 6
ORDER BY s.weight DESC, s.key_pos DESC, t.logit DESC, t.key_feature ASC, t.query_feature ASC;
