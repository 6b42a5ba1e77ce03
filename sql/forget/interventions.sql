-- Grain of the deletion: the head, or the layer (-1), whose output SAE is replaced.
-- Writes: interventions
DELETE FROM interventions
WHERE layer = $layer AND head = $head;
