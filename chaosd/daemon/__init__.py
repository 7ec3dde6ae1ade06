"""The surface that stays: starts experiments on schedule as child conductors, keeps and serves their results."""
