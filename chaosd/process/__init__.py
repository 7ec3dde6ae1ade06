"""Starts, controls and watches processes. Nobody else spawns; handles and recipes are values that go to disk."""
