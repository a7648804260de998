-- The hub's log and what follows from it. Uids, hashes and digests are raw bytes; times are milliseconds since 1970.

-- Where the log stands. One row; every append moves it from the expected place, or not at all.
CREATE TABLE head (
    one      SMALLINT PRIMARY KEY CHECK (one = 1),
    epoch    BYTEA    NOT NULL CHECK (length(epoch) = 16),
    revision BIGINT NOT NULL CHECK (revision >= 0),
    hash     BYTEA    NOT NULL CHECK (length(hash) = 32)
);

-- Every revision since the beginning: the audit trail. `record` is the message axle.v1.Record, which the hash covers.
CREATE TABLE log (
    revision   BIGINT PRIMARY KEY,
    hash       BYTEA    NOT NULL,
    time_ms    BIGINT NOT NULL,
    actor      TEXT    NOT NULL,
    request_id TEXT    NOT NULL,
    action     TEXT    NOT NULL,
    record     BYTEA    NOT NULL
);
-- A request that is repeated is answered from here, and can never be applied twice.
CREATE UNIQUE INDEX log_request ON log (actor, request_id) WHERE request_id <> '';

-- The log applied: each object as it is now. `payload` is its wire form; `document` says the same for people and SQL.
CREATE TABLE objects (
    kind      SMALLINT NOT NULL,
    cluster   BYTEA    NOT NULL, -- empty: the fleet's
    namespace TEXT    NOT NULL,
    name      TEXT    NOT NULL,
    uid       BYTEA    NOT NULL,
    revision  BIGINT NOT NULL,
    features  TEXT    NOT NULL, -- separated by spaces
    payload   BYTEA    NOT NULL,
    document  JSONB   NOT NULL,
    PRIMARY KEY (kind, cluster, namespace, name)
);

-- How far each cluster's own log has been taken in.
CREATE TABLE intakes (
    cluster  BYTEA    PRIMARY KEY,
    epoch    BYTEA    NOT NULL,
    revision BIGINT NOT NULL,
    hash     BYTEA    NOT NULL
);
