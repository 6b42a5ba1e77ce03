-- Grain: a member of an atom of a rule that does not come from the warehouse.
-- Makes: read_members
CREATE OR REPLACE TEMP TABLE read_members (
    rule INTEGER,
    scope INTEGER,
    atom INTEGER,
    absent BOOLEAN,
    at_least INTEGER,
    place VARCHAR,
    nearest INTEGER,
    farthest INTEGER,
    above DOUBLE,
    kind VARCHAR,
    member_layer INTEGER,
    member INTEGER
);
