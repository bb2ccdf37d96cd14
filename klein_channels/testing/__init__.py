"""What helps to try channels and agents without an account anywhere: stand-ins for the platforms."""
