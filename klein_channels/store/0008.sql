-- What platforms tell about the people of a conversation, so that they need not be asked with each message.

ALTER TABLE conversation ADD COLUMN people BLOB;  -- {id: [until when it is believed, the person]} (JSON)
