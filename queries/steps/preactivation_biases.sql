-- Grain: an output feature of a head, in order of its id.
SELECT preactivation_bias
FROM output_features
WHERE layer = $layer AND head = $head
ORDER BY feature;
