"""The judge on trial: pipelines with known mistakes on the real parts, and whether each is found for what it is."""
