-- Grain of the deletion: the output SAE that is replaced.
-- Writes: saes
DELETE FROM saes
WHERE role = 'output' AND layer = $layer AND head = $head;
