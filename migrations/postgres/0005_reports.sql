-- What each hub hears of its spokes, so that every hub can tell. Nothing here is in the log; all of it is said again.
CREATE TABLE reports (
    cluster   BYTEA PRIMARY KEY,
    hub       BYTEA NOT NULL, -- the process that has, or had, the session
    version   BIGINT NOT NULL, -- moves whenever that process says something else
    connected BOOLEAN NOT NULL,
    heard     TIMESTAMPTZ NOT NULL, -- when the spoke was heard of last, by the database's clock
    published TIMESTAMPTZ NOT NULL, -- when the hub last said so, by the same clock
    received  BIGINT NOT NULL,
    resumes   BIGINT NOT NULL,
    resyncs   BIGINT NOT NULL,
    statuses  BYTEA NOT NULL  -- the message axle.v1.NodeStatuses
);
