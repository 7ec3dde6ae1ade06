"""Toxiproxy: the server as a part of the stack, and the adapter through which everybody talks to it."""
