"""How a report is told: one format per file, listed in table.py."""
