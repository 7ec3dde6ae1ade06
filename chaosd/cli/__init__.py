"""The command line: a table of lazy commands, and one file per command group."""
