"""The pipeline under test: how it is launched and watched, the reference pipeline, and its broken mutants."""
