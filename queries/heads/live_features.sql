-- Grain: an input feature of a layer that fires after BOS, in order of its id.
-- Reads: input_features
SELECT feature
FROM input_features
WHERE layer = $layer AND (n_tokens > 0 OR $bos_keys)
ORDER BY feature;
