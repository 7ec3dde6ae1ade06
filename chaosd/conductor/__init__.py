"""Runs one experiment: phases, traffic, injections under leases, drain, seal.

A process of its own, started in the same way by every surface (client.py). It writes the journal and never reads it;
judging is done by another process.
"""
