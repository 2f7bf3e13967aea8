"""`unspool verify`: compares the read model with the log, and the ends of answers with their tokens."""
