-- Grain of the delete: a role of a head of $layer, of all layers where that is NULL.
-- Writes: head_roles
DELETE FROM head_roles
WHERE $layer IS NULL OR layer = $layer;
