-- Grain of the deletion: the head whose output SAE is replaced.
-- Writes: stated_atoms
DELETE FROM stated_atoms
WHERE layer = $layer AND head = $head;
