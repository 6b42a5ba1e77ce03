-- Grain of the deletion: the head whose output SAE is replaced, or whose features are found to say something else.
-- Writes: rule_right_sides
DELETE FROM rule_right_sides
WHERE layer = $layer AND head = $head;
