-- Grain of the deletion: an output feature of $features whose rules are found or tested anew.
-- Writes: stated_trials
DELETE FROM stated_trials
WHERE layer = $layer AND head = $head AND feature IN (SELECT unnest($features::INTEGER[]));
