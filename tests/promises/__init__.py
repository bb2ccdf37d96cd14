"""What is promised of the durable turn: one file per promise, and in `mutants/` how each is broken."""
