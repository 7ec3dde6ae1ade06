"""What people and CI read of a run: the judge process, and one file per format."""
