-- Grain of the deletion: the head whose output SAE is replaced.
-- Writes: counting_rules
DELETE FROM counting_rules
WHERE layer = $layer AND head = $head;
