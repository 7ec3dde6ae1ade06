"""What chaosd can break: each fault prepares, injects, undoes, and names the proofs that it bit and that it is gone."""
