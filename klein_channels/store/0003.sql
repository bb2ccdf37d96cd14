-- Events that wait for a time, and events that nobody will answer.
-- inbox.state is also `rejected`: it came while its conversation was busy, or had its fill; it is kept, no turn takes it.
-- turn.state is also `superseded`: a later turn took its place before it had ended.

ALTER TABLE inbox ADD COLUMN due_at DOUBLE PRECISION;  -- when its turn may start; none for at once
CREATE INDEX inbox_due ON inbox (due_at) WHERE state = 'waiting' AND due_at IS NOT NULL;

ALTER TABLE turn ADD COLUMN superseded_by BIGINT;      -- the turn that took its place
CREATE INDEX turn_superseded ON turn (superseded_by) WHERE superseded_by IS NOT NULL;
