"""Tier 2: a type checker (pyrefly) over a shadow copy of the source that says what tier 1 inferred. `shadow.py` writes
the copy, `checker.py` runs the checker, `findings.py` keeps what is certain. Optional, and it never blocks a run.
"""
