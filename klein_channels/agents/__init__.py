"""What answers: one file per kind of agent."""
