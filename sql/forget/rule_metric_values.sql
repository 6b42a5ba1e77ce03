-- Grain of the deletion: the head, or the layer (-1), whose output SAE is replaced.
-- Writes: rule_metric_values
DELETE FROM rule_metric_values
WHERE layer = $layer AND head = $head;
