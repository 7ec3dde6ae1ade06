"""The default target: a small trading pipeline, at-least-once with idempotent effects.

It uses nothing of chaosd but the envelope, as anybody's pipeline would.
"""
