"""How a stack comes to be: own processes (embedded), or servers that are already there (external)."""
