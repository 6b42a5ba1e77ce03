-- What an activation is made of: rules, keys without one, keys at BOS, biases, and what the features miss.
-- Group: one position
-- Needs: rules
-- $layer = null: layer of the feature; of the first that has such rules, where layer, head and feature are null
-- $head = null: head of the feature
-- $feature = null: the output feature
-- $seq_id = null: the sequence; that of the strongest activation, where seq_id and pos are null
-- $pos = null: the position in it
-- $method = "weighted_groups": how the rules were found; not stated, whose rules are conditions and carry nothing
-- $scaling = "paper": one of paper, model
-- $n_rules = 16: first rules of the list
WITH asked AS (
    SELECT
        coalesce($layer::INTEGER, min(layer)) AS layer,
        coalesce($head::INTEGER, arg_min(head, (layer, head))) AS head,
        coalesce($feature::INTEGER, arg_min(feature, (layer, head, feature))) AS feature
    FROM rules
    WHERE
        method = $method AND scaling = $scaling
        AND layer = coalesce($layer::INTEGER, layer) AND head = coalesce($head::INTEGER, head)
),

strongest AS (
    SELECT
        arg_max(o.seq_id, (o.activation, -o.seq_id, -o.pos)) AS seq_id,
        arg_max(o.pos, (o.activation, -o.seq_id, -o.pos)) AS pos
    FROM asked AS a
    INNER JOIN output_activations AS o ON a.layer = o.layer AND a.head = o.head AND a.feature = o.feature
    WHERE o.pos > 0
)

SELECT
    p.part,
    p.rank,
    round(p.amount, 4) AS amount,
    p.key_pos,
    token_label(p.key_token) AS key_token,
    p.key_feature,
    p.words,
    (SELECT format('{}.{}', head_label(a.layer, a.head), a.feature) FROM asked AS a) AS feature,
    coalesce($seq_id::INTEGER, (SELECT seq_id FROM strongest)) AS seq_id,
    coalesce($pos::INTEGER, (SELECT pos FROM strongest)) AS pos
FROM
    activation_parts(
        (SELECT layer FROM asked),
        (SELECT head FROM asked),
        (SELECT feature FROM asked),
        coalesce($seq_id::INTEGER, (SELECT seq_id FROM strongest)),
        coalesce($pos::INTEGER, (SELECT pos FROM strongest)),
        $method,
        $scaling,
        $n_rules
    ) AS p
ORDER BY p.rank ASC NULLS LAST, p.part ASC;
