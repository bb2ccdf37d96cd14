-- Exchanges that are over, by their age: a purge must not look through all of them.
CREATE INDEX exchange_over ON exchange (at) WHERE state IN ('answered', 'closed');
