-- Grain: a token of the vocabulary.
CREATE TABLE vocabulary (
    token_id INTEGER NOT NULL,
    token VARCHAR NOT NULL
);
COMMENT ON TABLE vocabulary IS 'Text of every token';
COMMENT ON COLUMN vocabulary.token_id IS 'Token id';
COMMENT ON COLUMN vocabulary.token IS 'Text of the token, with its leading space if it has one';
