-- Grain of the deletion: the head whose output SAE is replaced.
-- Writes: stated_rules
DELETE FROM stated_rules
WHERE layer = $layer AND head = $head;
