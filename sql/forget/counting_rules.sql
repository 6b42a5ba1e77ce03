-- Grain of the deletion: the head whose output SAE is replaced.
DELETE FROM counting_rules
WHERE layer = $layer AND head = $head;
