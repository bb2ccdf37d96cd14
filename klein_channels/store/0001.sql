-- The first schema. Times are seconds since 1970 (UTC); events and messages are JSON as model.py makes it.

-- What this file is: one row.
CREATE TABLE store (
    version  INTEGER NOT NULL,   -- the number of the newest script that was applied
    instance TEXT NOT NULL       -- random; begins the id of every send, so that two stores never share one
);

-- Everything that was accepted, for as long as a platform may deliver it again.
CREATE TABLE seen (
    key BLOB PRIMARY KEY,        -- the hour of the platform's timestamp, then a hash: see dedupe_key in intake.py
    at  REAL NOT NULL            -- when it was accepted
) WITHOUT ROWID;
-- Events without a timestamp have the hour 0; their age is found here.
CREATE INDEX seen_untimed ON seen (at) WHERE key < x'00000001';

CREATE TABLE conversation (
    key       TEXT PRIMARY KEY,  -- str(Address) of what the channel's `conversation` setting makes one of
    owner     TEXT NOT NULL DEFAULT 'bot',  -- bot | human | paused
    last_id   TEXT,              -- the platform's id of the last thing a person did here
    last_at   REAL,              -- and when we accepted it
    reference BLOB,              -- the platform's reference for replies (JSON), if it needs one
    state     BLOB,              -- what the agent wants to know at its next turn (JSON)
    offers    BLOB               -- the last structured payloads that we offered here (JSON list)
) WITHOUT ROWID;

-- How far a channel that polls has read; written with the events that were read.
CREATE TABLE cursor (
    name  TEXT PRIMARY KEY,      -- channel:account, each percent-encoded
    value BLOB NOT NULL          -- the platform's own cursor (JSON)
) WITHOUT ROWID;

-- A webhook whose answer carries the replies to its event, on platforms that take them there.
CREATE TABLE exchange (
    conversation TEXT NOT NULL,
    event        TEXT NOT NULL,  -- the platform's id
    state        TEXT NOT NULL,  -- open | ready: the turn has ended | answered | closed: replies go another way
    answers_only INTEGER NOT NULL,  -- there is no other way
    response     BLOB,           -- what was answered (JSON), for a redelivery
    at           REAL NOT NULL,
    PRIMARY KEY (conversation, event)
) WITHOUT ROWID;
CREATE INDEX exchange_open ON exchange (at) WHERE state IN ('open', 'ready');

-- Every event. Its id is the order of acceptance.
CREATE TABLE inbox (
    id           INTEGER PRIMARY KEY,
    conversation TEXT NOT NULL,
    event        BLOB NOT NULL,
    received_at  REAL NOT NULL,
    state        TEXT NOT NULL,  -- waiting: for its turn | taken: by `turn` | observed: no turn | withheld: a human had it
    turn         INTEGER
);
CREATE INDEX inbox_waiting ON inbox (conversation, id) WHERE state = 'waiting';

-- A turn has exactly the events first_event..last_event of its conversation that it took.
CREATE TABLE turn (
    id            INTEGER PRIMARY KEY,
    conversation  TEXT NOT NULL,
    first_event   INTEGER NOT NULL,
    last_event    INTEGER NOT NULL,
    attempt       INTEGER NOT NULL,  -- how often it was started
    failures      INTEGER NOT NULL DEFAULT 0,  -- how many of these ended badly
    first_failure REAL,
    state         TEXT NOT NULL,     -- running | retry | queued (a replay) | done | dead | withheld | discarded
    due_at        REAL,              -- when a retry or replay may start
    error         TEXT,
    started_at    REAL NOT NULL,
    ended_at      REAL
);
-- One turn at a time per conversation, by the database's own word.
CREATE UNIQUE INDEX turn_open ON turn (conversation) WHERE state IN ('running', 'retry');
CREATE INDEX turn_queued ON turn (conversation, id) WHERE state = 'queued';
CREATE INDEX turn_due ON turn (due_at) WHERE state IN ('retry', 'queued');
CREATE INDEX turn_dead ON turn (id) WHERE state = 'dead';

-- Every visible send, one row each, never split again. The order within a conversation is the id.
CREATE TABLE outbox (
    id           INTEGER PRIMARY KEY,
    conversation TEXT NOT NULL,
    address      TEXT NOT NULL,      -- str(Address) that it goes to
    message      BLOB NOT NULL,      -- a message with the one part
    cause        TEXT,               -- the id of the event that is answered; none for what we start
    turn         INTEGER,
    attempt      INTEGER,            -- 0 for a deterministic agent: its later attempts continue the first
    ordinal      INTEGER,            -- the how-manieth reply of the attempt
    part         INTEGER,            -- and which visible part of it
    key          TEXT,               -- the caller's idempotency key of a proactive message there
    state        TEXT NOT NULL,      -- waiting | sending | streaming | unknown | held
                                     -- | sent | withheld | withdrawn | expired | dead | discarded
    due_at       REAL NOT NULL,
    first_at     REAL NOT NULL,      -- when the patience began
    tries        INTEGER NOT NULL DEFAULT 0,
    repeated     INTEGER NOT NULL DEFAULT 0,  -- sent again although its first outcome is unknown
    growing      INTEGER NOT NULL DEFAULT 0,  -- something of it was, or may have been, shown as it grew
    anew         INTEGER NOT NULL DEFAULT 0,  -- sent beside what was seen of it, which cannot be changed
    final_word   INTEGER NOT NULL DEFAULT 0,  -- said by the bot as it handed over: sent although a human owns
    mids         BLOB,
    error        TEXT,
    created_at   REAL NOT NULL,
    settled_at   REAL
);
CREATE UNIQUE INDEX outbox_place ON outbox (turn, attempt, ordinal, part) WHERE turn IS NOT NULL;
CREATE UNIQUE INDEX outbox_key ON outbox (conversation, key, part) WHERE key IS NOT NULL;
CREATE INDEX outbox_open ON outbox (conversation, id)
    WHERE state IN ('waiting', 'sending', 'streaming', 'unknown', 'held');
CREATE INDEX outbox_due ON outbox (due_at) WHERE state IN ('waiting', 'unknown', 'held');
CREATE INDEX outbox_dead ON outbox (id) WHERE state = 'dead';
