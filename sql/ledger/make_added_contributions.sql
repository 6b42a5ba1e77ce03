-- Grain: an output feature of a layer-wide SAE and a head that it reads, of which a part of a chunk brings contributions, in
-- multiples of 2^-24.
-- Makes: added_contributions
CREATE OR REPLACE TEMP TABLE added_contributions (
    layer SMALLINT NOT NULL,
    feature INTEGER NOT NULL,
    through_head SMALLINT NOT NULL,
    units BIGINT NOT NULL
);
