-- What operators decide, and the record of what they did.

-- A channel, or an account of one, in which the agent answers nobody for a while.
CREATE TABLE pause (
    place   TEXT PRIMARY KEY,    -- how the keys of its conversations begin: channel: or channel:account:
    mode    TEXT NOT NULL,       -- hold: accept, answer later | maintenance: answer with `says` | reject: take nothing
                                 -- | over: it has ended
    says    TEXT,
    note    TEXT,                -- why, for other operators
    since   DOUBLE PRECISION NOT NULL,
    number  TEXT NOT NULL        -- random; a pause that is made anew says its words anew
);

-- Never changed, and deleted only when its retention is over.
CREATE TABLE audit (
    id      INTEGER PRIMARY KEY,
    at      DOUBLE PRECISION NOT NULL,
    actor   TEXT NOT NULL,       -- where the order came from
    action  TEXT NOT NULL,
    subject TEXT NOT NULL,       -- what it was about, without a word of anybody's message
    result  TEXT NOT NULL
);
CREATE INDEX audit_at ON audit (at);
