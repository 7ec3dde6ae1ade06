"""Gives the tests of this folder trees of source to check."""

from __future__ import annotations

from source_trees import check, pipeline_copy

__all__ = ["check", "pipeline_copy"]
