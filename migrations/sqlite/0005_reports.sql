-- What each hub hears of its spokes, so that every hub can tell. Nothing here is in the log; all of it is said again.
CREATE TABLE reports (
    cluster   BLOB PRIMARY KEY,
    hub       BLOB NOT NULL, -- the process that has, or had, the session
    version   INTEGER NOT NULL, -- moves whenever that process says something else
    connected BOOLEAN NOT NULL,
    heard     INTEGER NOT NULL, -- when the spoke was heard of last, by the database's clock
    published INTEGER NOT NULL, -- when the hub last said so, by the same clock
    received  INTEGER NOT NULL,
    resumes   INTEGER NOT NULL,
    resyncs   INTEGER NOT NULL,
    statuses  BLOB NOT NULL  -- the message axle.v1.NodeStatuses
);
