-- Grain: an output feature of $features whose effect on the logits is known: the length of what it writes.
-- Reads: output_effects
SELECT
    feature,
    write_norm
FROM output_effects
WHERE layer = $layer AND head = $head AND feature IN (SELECT unnest($features::INTEGER[]));
