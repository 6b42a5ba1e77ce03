-- Grain of the deletion: the head whose output SAE is replaced.
-- Writes: rule_readings
DELETE FROM rule_readings
WHERE layer = $layer AND head = $head;
