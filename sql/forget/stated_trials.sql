-- Grain of the deletion: the head whose output SAE is replaced.
-- Writes: stated_trials
DELETE FROM stated_trials
WHERE layer = $layer AND head = $head;
