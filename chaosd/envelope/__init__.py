"""The envelope: its public contract, its hot-path mirror, dense identities, and every way to spoil it. Pure."""
