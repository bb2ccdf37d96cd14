"""What Meta's platforms have in common: the Graph API, the shape of events, the bodies of messages."""
