-- Accounts that joined by OAuth: the tokens with which each is answered.

CREATE TABLE grants (
    channel        TEXT NOT NULL,
    account        TEXT NOT NULL,             -- a workspace or an organisation
    sealed         BLOB NOT NULL,             -- token and renewal, readable with the app's client secret only
    expires_at     DOUBLE PRECISION,          -- NULL: does not expire
    changed_at     DOUBLE PRECISION NOT NULL,
    renewing_until DOUBLE PRECISION,          -- until then one server renews it
    PRIMARY KEY (channel, account)
);
