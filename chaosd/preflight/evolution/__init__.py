"""Schemas over time: what the models of a project looked like when they were snapshotted, and whether old and new
events can still be read. `compatibility.py` explains by rule, `oracle.py` proves by replay.
"""
