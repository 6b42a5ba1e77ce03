-- The activation of every example is the one stored in output_activations, 0 where there is none.
-- Reads: examples, output_activations
SELECT
    format(
        '{}.{} {} sequence {} position {}: example says {}, stored {}',
        head_label(e.layer, e.head), e.feature, e.example_set, e.seq_id, e.pos, e.activation, coalesce(a.activation, 0)
    ) AS problem
FROM examples AS e
LEFT JOIN output_activations AS a
    ON
        e.layer = a.layer
        AND e.head = a.head
        AND e.feature = a.feature
        AND e.seq_id = a.seq_id
        AND e.pos = a.pos
WHERE e.activation <> coalesce(a.activation, 0) OR e.label <> (e.activation > 0)::SMALLINT;
