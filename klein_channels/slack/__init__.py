"""What Slack's events, messages, API, tokens and installation are made of; the channel puts it together."""
