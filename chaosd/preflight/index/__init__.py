"""What the files of a project declare: modules, imports, classes, enums, and where a class is open to surprises."""
