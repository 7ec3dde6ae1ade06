"""The judge's brain: pure functions from a History to a Judgement. No clock, no logging.

Only loading.py reads files.
"""
