-- Activations are positive and finite.
-- Reads: input_activations, output_activations
SELECT
    format('input_activations: layer {} sequence {} position {} has {}', layer, seq_id, pos, activation) AS problem
FROM input_activations
WHERE NOT (activation > 0 AND isfinite(activation))
UNION ALL
SELECT
    format(
        'output_activations: {} sequence {} position {} has {}', head_label(layer, head), seq_id, pos, activation
    ) AS problem
FROM output_activations
WHERE NOT (activation > 0 AND isfinite(activation));
