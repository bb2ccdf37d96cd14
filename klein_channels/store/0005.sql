-- A conversation's owner may be for a time, and what a human took over stays theirs.

-- When the bot owns it again; of a bot's own conversation: since when, until the server has noticed.
ALTER TABLE conversation ADD COLUMN owner_until DOUBLE PRECISION;
CREATE INDEX conversation_returning ON conversation (owner_until) WHERE owner_until IS NOT NULL;

-- A human took over while it ran: what its agent says is withheld, whoever owns the conversation by then.
ALTER TABLE turn ADD COLUMN taken INTEGER NOT NULL DEFAULT 0;
