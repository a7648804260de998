-- Secrets and who may connect. Nothing here is in the log, so none of it reaches a spoke or the audit trail.

-- The CA and the keys that sign tokens, as PEM. Give this table to nobody but the hub.
CREATE TABLE secrets (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

-- Join tokens not yet used: SHA-256 of the secret. Redeeming one deletes its row.
CREATE TABLE join_tokens (
    digest     BYTEA    PRIMARY KEY,
    cluster    BYTEA    NOT NULL,
    expires_ms BIGINT NOT NULL,
    creator    TEXT    NOT NULL
);

-- The one relay that may speak for each cluster, by the SHA-256 of its public key. Enrolling again replaces it.
CREATE TABLE enrolments (
    cluster     BYTEA    PRIMARY KEY,
    relay_key   BYTEA    NOT NULL,
    enrolled_ms BIGINT NOT NULL
);
