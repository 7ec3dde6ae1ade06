"""Pipelines with one deliberate defect each, built on the seams of the reference pipeline. The judge must catch it."""
