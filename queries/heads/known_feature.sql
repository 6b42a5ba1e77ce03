-- Grain: the output feature of that name, if there is one.
-- Reads: output_features
SELECT feature
FROM output_features
WHERE layer = $layer AND head = $head AND feature = $feature;
