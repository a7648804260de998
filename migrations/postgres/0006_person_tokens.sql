-- The tokens that people bear, by their id (the claim `jti`); what is signed is kept nowhere. A row goes once its token is over.
CREATE TABLE person_tokens (
    id         TEXT   PRIMARY KEY,
    subject    TEXT   NOT NULL,
    role       TEXT   NOT NULL,
    issued_ms  BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL,
    creator    TEXT   NOT NULL,
    revoked_ms BIGINT NOT NULL -- 0: not revoked
);
