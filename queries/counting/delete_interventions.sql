-- Grain: what is stored of the features that are mined again.
-- Writes: interventions
DELETE FROM interventions
WHERE
    layer = $layer
    AND head = $head
    AND scaling = $scaling
    AND feature IN (SELECT unnest($features::INTEGER[]))
    AND experiment = 'counting';
