"""What WhatsApp's Cloud API says and takes, apart from what it shares with Meta's other products."""
