"""Telegram's Bot API: how it is called, what its updates mean, how its messages are made."""
