-- Grain of the deletion: the head whose output SAE is replaced.
DELETE FROM rule_metric_values
WHERE layer = $layer AND head = $head;
