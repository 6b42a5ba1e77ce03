-- Grain: a way to predict an output feature, which the old warehouse names and the new one does not.
-- Writes: methods
INSERT INTO new.main.methods BY NAME
SELECT
    o.method,
    o.kind,
    o.meaning
FROM old.main.methods AS o
WHERE o.method NOT IN (SELECT n.method FROM new.main.methods AS n);
