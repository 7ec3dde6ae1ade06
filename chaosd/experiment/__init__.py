"""The experiment: models of its YAML, parsing with positions, the timeline, the seeded plan of the traffic. Pure."""
