-- Grain of the deletion: the output SAE that is replaced.
DELETE FROM saes
WHERE role = 'output' AND layer = $layer AND head = $head;
