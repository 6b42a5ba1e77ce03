-- Grain: a layer whose input features are stored, with their number.
-- Reads: saes
SELECT
    layer,
    d_sae
FROM saes
WHERE role = 'input'
ORDER BY layer;
