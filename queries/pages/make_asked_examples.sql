-- Grain: an example whose sources are asked for.
-- Makes: asked_examples
CREATE OR REPLACE TEMP TABLE asked_examples (
    feature INTEGER,
    seq_id INTEGER,
    pos INTEGER
);
