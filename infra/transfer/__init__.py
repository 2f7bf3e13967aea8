"""A chat from one system to another, as lines of JSON: `unspool export` and `unspool import`."""
