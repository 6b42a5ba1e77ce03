-- Grain: an output feature of a layer-wide SAE and a head that it reads, of which a chunk brings contributions.
-- Makes: added_contributions
CREATE OR REPLACE TEMP TABLE added_contributions (
    feature INTEGER NOT NULL,
    through_head SMALLINT NOT NULL,
    contribution DOUBLE NOT NULL
);
