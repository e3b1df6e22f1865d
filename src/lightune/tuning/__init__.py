"""Which weights move, and how fast."""
