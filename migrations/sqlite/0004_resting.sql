-- Addresses of services that are gone: the newest rest here before they are given out again.
CREATE TABLE resting_addresses (
    address  TEXT   PRIMARY KEY,
    revision INTEGER NOT NULL -- that gave it up
);
