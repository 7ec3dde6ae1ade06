"""Kafka in KRaft mode, one node that is broker and controller, with a DIRECT and a PROXIED listener."""
