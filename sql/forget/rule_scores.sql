-- Grain of the deletion: the head, or the layer (-1), whose output SAE is replaced.
-- Writes: rule_scores
DELETE FROM rule_scores
WHERE layer = $layer AND head = $head;
