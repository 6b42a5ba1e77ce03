-- Grain of the deletion: the head whose output SAE is replaced.
-- Writes: interventions
DELETE FROM interventions
WHERE layer = $layer AND head = $head;
