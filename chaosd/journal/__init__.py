"""What a run recorded, append-only: facts (control, one hash chain per process) and columns (per event).

Only this room opens run data: write.py on the run side, history.py on the read side, and the two share nothing but the
columns.
"""
