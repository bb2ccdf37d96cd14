"""What the channels of Twilio are made of: its forms, TwiML, its REST API."""
