-- Grain: a token of the vocabulary.
CREATE TABLE vocabulary (
    token_id INTEGER NOT NULL,
    token VARCHAR NOT NULL,
    token_bytes VARCHAR
);
COMMENT ON TABLE vocabulary IS 'Text of every token';
COMMENT ON COLUMN vocabulary.token_id IS 'Token id';
COMMENT ON COLUMN vocabulary.token IS 'Text of the token, with its spaces; a byte that is no character alone, or that is a token by itself beside its character, is spelt as <0xE2>';
COMMENT ON COLUMN vocabulary.token_bytes IS 'Bytes, in hexadecimal, of a token whose text spells them, such as F09F; NULL for any other token, and for all before schema version 3, when parts of characters were U+FFFD';
