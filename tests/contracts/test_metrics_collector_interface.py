"""`'PipelineMetricsCollector' object has no attribute 'increment_count'`: the failure of production, planted again."""

from __future__ import annotations

import pytest

BARE = {"annotated": None, "mixed": ("pipeline.py",), "unannotated": ()}
METHODS = ["increment_count", "set_last_activity_timestamp"]


def _bare(copy, variant):
    if BARE[variant] is not None:
        copy.without_annotations(*BARE[variant])


@pytest.mark.parametrize("variant", BARE)
def test_every_method_that_the_pipeline_counts_with_is_there(pipeline_copy, variant):
    _bare(pipeline_copy, variant)
    assert pipeline_copy.check() == set()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("variant", BARE)
def test_every_call_of_a_method_that_was_renamed_is_found(pipeline_copy, variant, method):
    _bare(pipeline_copy, variant)
    calls = pipeline_copy.lines(rf"metrics\.{method}\(")
    assert calls
    pipeline_copy.replace("target/reference/metrics.py", f"def {method}", "def renamed")
    assert pipeline_copy.check() == {(path, line, "missing-method") for path, line in calls}


def test_another_class_in_its_place_is_found_where_the_parts_are_put_together(pipeline_copy):
    pipeline_copy.without_annotations()
    pipeline_copy.replace(
        "target/reference/app.py", r"metrics=PipelineMetricsCollector\(\)", "metrics=RiskStateManager()"
    )
    found = pipeline_copy.check()
    assert found == {
        (path, line, "missing-method")
        for path, line in pipeline_copy.lines(r"metrics\.(increment_count|set_last_activity_timestamp|counts)\(")
    }
