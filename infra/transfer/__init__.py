"""Transfers a chat between systems as lines of JSON: `unspool export` and `unspool import`."""
