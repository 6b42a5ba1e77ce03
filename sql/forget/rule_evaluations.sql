-- Grain of the deletion: the head, or the layer (-1), whose output SAE is replaced.
-- Writes: rule_evaluations
DELETE FROM rule_evaluations
WHERE layer = $layer AND head = $head;
