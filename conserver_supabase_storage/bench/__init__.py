"""Measures the storage on a Supabase of the user's: see the command `bench` (docs/commands.md).

`measure` is also what the repository's own benchmarks are made with.
"""
