-- Grain of the deletion: the head whose output SAE is replaced.
-- Writes: output_tokens
DELETE FROM output_tokens
WHERE layer = $layer AND head = $head;
