-- Grain of the deletion: the head whose output SAE is replaced.
DELETE FROM rule_evaluations
WHERE layer = $layer AND head = $head;
