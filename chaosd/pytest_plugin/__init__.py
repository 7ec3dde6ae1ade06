"""The surface inside pytest: `*.chaos.yaml` files as tests, and a running testbed as a fixture.

Every pytest of the environment loads `plugin.py`, so it imports nothing heavy before one of them is used.
"""
