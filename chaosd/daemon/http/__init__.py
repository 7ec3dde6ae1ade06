"""What the daemon serves over HTTP: one file per resource, a gate in front of all of them."""
