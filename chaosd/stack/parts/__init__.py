"""One file or folder per part: its protocol probes, its recipe. `table.py` lists them all."""
