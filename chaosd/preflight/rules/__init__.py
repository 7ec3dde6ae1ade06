"""What the preflight looks for: one rule per file, each a value `rule = Rule(…)`, listed in table.py."""
