-- Grain of the deletion: the head whose output SAE is replaced.
-- Writes: rule_evaluations
DELETE FROM rule_evaluations
WHERE layer = $layer AND head = $head;
