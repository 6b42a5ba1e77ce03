-- Grain: a member of the set of an atom of a stated rule; an atom about positions has one row.
CREATE TABLE stated_atoms (
    layer SMALLINT NOT NULL,
    head SMALLINT NOT NULL,
    feature INTEGER NOT NULL,
    rank INTEGER NOT NULL,
    atom SMALLINT NOT NULL,
    absent BOOLEAN NOT NULL,
    at_least INTEGER NOT NULL,
    place VARCHAR CHECK (place IN ('offset', 'copy', 'after copy', 'position')) NOT NULL,
    nearest INTEGER NOT NULL,
    farthest INTEGER,
    above DOUBLE NOT NULL,
    kind VARCHAR CHECK (kind IN ('token', 'feature', 'same', 'position')) NOT NULL,
    member_layer SMALLINT,
    member INTEGER,
    run_id INTEGER NOT NULL
);
COMMENT ON TABLE stated_atoms IS 'The atoms of stated_rules in columns: a set of tokens or input features, where it is looked for, and how many positions there must hold one';
COMMENT ON COLUMN stated_atoms.layer IS 'Layer, 0-based';
COMMENT ON COLUMN stated_atoms.head IS 'Attention head within the layer, 0-based';
COMMENT ON COLUMN stated_atoms.feature IS 'Feature of the output SAE of this head';
COMMENT ON COLUMN stated_atoms.rank IS 'The rule, as in stated_rules';
COMMENT ON COLUMN stated_atoms.atom IS 'Place of the atom in the rule, from 1; all atoms of a rule must be true';
COMMENT ON COLUMN stated_atoms.absent IS 'Whether the atom says "no": true where no position of the place holds a member';
COMMENT ON COLUMN stated_atoms.at_least IS 'Number of positions of the place that must hold a member';
COMMENT ON COLUMN stated_atoms.place IS 'offset: tokens back from the position judged; copy: where its token stood before; after copy: the token after such a one; position: the position judged itself';
COMMENT ON COLUMN stated_atoms.nearest IS 'Of an offset the least number of tokens back, of a position the first; 0 otherwise';
COMMENT ON COLUMN stated_atoms.farthest IS 'Of an offset the largest number of tokens back, of a position the last; NULL for any';
COMMENT ON COLUMN stated_atoms.above IS 'Activation that a feature must exceed';
COMMENT ON COLUMN stated_atoms.kind IS 'token; feature of the input SAE; same: the token of the position judged; position: the atom has no set';
COMMENT ON COLUMN stated_atoms.member_layer IS 'Layer of an input feature, NULL for other kinds';
COMMENT ON COLUMN stated_atoms.member IS 'Input feature or token id, NULL for other kinds';
COMMENT ON COLUMN stated_atoms.run_id IS 'Run that found it';
