"""The chaos run: everything as real processes, faults by a seeded schedule, a load of clients, and a checker.

The law of this package: what is counted on is checked from the outside. The checker reads the streams, the
database and what clients saw with code of its own, and none of what it checks.
"""
