"""vCons into the storage, out of it, and compared: what `import`, `export` and `verify` do.

Sources (`sources.py`) yield JSON texts, one vCon at a time; `questions.py` asks the database about
many vCons in one request. Nothing here writes to a terminal.
"""
