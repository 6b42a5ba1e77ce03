-- Grain of the delete: a role of a head.
-- Writes: head_probes
DELETE FROM head_probes
WHERE layer = $layer AND head = $head;
