-- Grain of the deletion: the head whose output SAE is replaced.
-- Writes: rule_scores
DELETE FROM rule_scores
WHERE layer = $layer AND head = $head;
