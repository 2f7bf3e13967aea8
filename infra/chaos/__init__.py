"""The chaos run: real processes, faults by a seeded schedule, clients as load, and a checker.

Invariant: the checker is independent. It reads the streams, the database and the clients' records with its own code
and uses none of the code that it checks.
"""
