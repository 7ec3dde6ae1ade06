"""What flows where: an abstract interpreter over the syntax tree, run in a few rounds over the whole project."""
