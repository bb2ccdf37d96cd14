-- Several servers on one database: who they are, and what each of them holds.

-- Each server that runs. What names a number that is not here is nobody's; numbers never come again.
CREATE TABLE server (
    id          INTEGER PRIMARY KEY,
    name        TEXT NOT NULL,     -- for people: host and process
    lease_until REAL NOT NULL      -- by the database's own clock
);
-- Conversations whose other end is a connection to one server: their replies go out from there.
CREATE TABLE socket (
    conversation TEXT PRIMARY KEY,
    server       INTEGER NOT NULL
);
-- Polls that only one server does.
CREATE TABLE poller (
    name   TEXT PRIMARY KEY,       -- as in cursor
    server INTEGER NOT NULL
);
-- Which server runs a turn, sends a reply, holds the connection of a webhook; 0 where there is one only.
ALTER TABLE turn ADD COLUMN server INTEGER NOT NULL DEFAULT 0;
ALTER TABLE outbox ADD COLUMN server INTEGER NOT NULL DEFAULT 0;
ALTER TABLE exchange ADD COLUMN server INTEGER NOT NULL DEFAULT 0;
