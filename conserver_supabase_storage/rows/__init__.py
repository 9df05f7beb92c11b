"""The parts of a vCon as table rows, and rows as the same parts again. Pure: no I/O.

A row has typed columns for queries, which hold what their types can, and beside them the column
``as_written`` with the part's members exactly as they were written. A body stands once, in the
column ``body``; ``as_written`` keeps its place (see `part.py`).
"""
