-- The hub's log and what follows from it. Uids, hashes and digests are raw bytes; times are milliseconds since 1970.

-- Where the log stands. One row; every append moves it from the expected place, or not at all.
CREATE TABLE head (
    one      INTEGER PRIMARY KEY CHECK (one = 1),
    epoch    BLOB    NOT NULL CHECK (length(epoch) = 16),
    revision INTEGER NOT NULL CHECK (revision >= 0),
    hash     BLOB    NOT NULL CHECK (length(hash) = 32)
);

-- Every revision since the beginning: the audit trail. `record` is the message axle.v1.Record, which the hash covers.
CREATE TABLE log (
    revision   INTEGER PRIMARY KEY,
    hash       BLOB    NOT NULL,
    time_ms    INTEGER NOT NULL,
    actor      TEXT    NOT NULL,
    request_id TEXT    NOT NULL,
    action     TEXT    NOT NULL,
    record     BLOB    NOT NULL
);
-- A request that is repeated is answered from here, and can never be applied twice.
CREATE UNIQUE INDEX log_request ON log (actor, request_id) WHERE request_id <> '';

-- The log applied: each object as it is now. `payload` is its wire form; `document` says the same for people and SQL.
CREATE TABLE objects (
    kind      INTEGER NOT NULL,
    cluster   BLOB    NOT NULL, -- empty: the fleet's
    namespace TEXT    NOT NULL,
    name      TEXT    NOT NULL,
    uid       BLOB    NOT NULL,
    revision  INTEGER NOT NULL,
    features  TEXT    NOT NULL, -- separated by spaces
    payload   BLOB    NOT NULL,
    document  TEXT    NOT NULL,
    PRIMARY KEY (kind, cluster, namespace, name)
) WITHOUT ROWID;

-- How far each cluster's own log has been taken in.
CREATE TABLE intakes (
    cluster  BLOB    PRIMARY KEY,
    epoch    BLOB    NOT NULL,
    revision INTEGER NOT NULL,
    hash     BLOB    NOT NULL
);
