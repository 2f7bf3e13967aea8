"""`unspool verify`: what was made from the log, held against the log; and answers against the tokens that they were made of."""
