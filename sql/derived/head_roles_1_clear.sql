-- Grain of the delete: a role of a head.
-- Writes: head_roles
DELETE FROM head_roles;
