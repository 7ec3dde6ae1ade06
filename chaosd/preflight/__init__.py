"""The preflight: reads a pipeline's source, never runs it, and finds what would kill it at run time.

`check.run` is the entry. `index/` knows what the files declare, `infer/` what flows where, `rules/` what is wrong
about it (one rule per file, listed in `rules/table.py`), `output/` how it is told (one format per file).
"""
