"""chaosd: a chaos-engineering daemon with event-sourced verification."""

__version__ = "0.1.0"
