"""docs/test-layers.md tells where each promise is tested: every file and every test that it names is there."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/test-layers.md").read_text(encoding="utf-8")
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and "`tests/" in line]
# The files that the suite's first plan names.
PLANNED = {
    "contracts": "service_interfaces metrics_collector_interface state_manager_interface protocol_compliance "
    "method_signatures",
    "schemas": "event_type_completeness signal_type_completeness schema_usage_validation version_compatibility",
    "infrastructure": "redis_integration redis_type_handling kafka_integration postgres_integration "
    "serialization_roundtrip connection_management performance_integration",
    "error_paths": "dlq_error_handling connection_failure_recovery poison_message_handling resource_exhaustion "
    "graceful_degradation",
}


def names_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[2:40].strip())
def test_every_test_that_the_page_names_is_there(row):
    files: list[Path] = []
    for name in re.findall(r"`([^`\s]+)`", row.rpartition(" | ")[2]):
        if "/" in name:
            files.append(ROOT / name)
            assert files[-1].is_file(), name
        else:
            assert name in names_in(files[-1]), f"{name} is not in {files[-1]}"


@pytest.mark.parametrize("layer", PLANNED)
def test_every_planned_file_has_tests_and_is_on_the_page(layer):
    for name in PLANNED[layer].split():
        path = f"tests/{layer}/test_{name}.py"
        assert any(one.startswith("test_") for one in names_in(ROOT / path)), path
        assert f"`{path}`" in PAGE, path


def test_every_dependency_is_pinned_to_a_version_that_is_allowed():
    pinned = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            name, _, version = line.partition("==")
            pinned[canonicalize_name(name)] = version
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    for text in (*project["dependencies"], *extras["embedded"], *extras["dev"]):
        wanted = Requirement(text)
        version = pinned.get(canonicalize_name(wanted.name))
        assert version, f"{wanted.name} is not in constraints.txt"
        assert wanted.specifier.contains(version), f"{wanted.name} {version} is not within {wanted.specifier}"


@pytest.mark.parametrize(
    ("target", "variables", "told"),
    [
        ("start", (), "stack up --name test-infrastructure --port-redis 6380 --port-kafka 19092 --port-postgres 5433"),
        ("stop", (), "stack down test-infrastructure"),
        ("start", ("STACK=docker",), "docker compose -f docker-compose.test-infrastructure.yml up -d --wait"),
        ("stop", ("STACK=docker",), "docker compose -f docker-compose.test-infrastructure.yml down -v"),
    ],
)
def test_make_starts_and_stops_the_infrastructure_on_the_planned_ports(target, variables, told):
    command = ["make", "-n", "-o", ".venv/.installed", f"test-infrastructure-{target}", *variables]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=30)
    assert told in " ".join(done.stdout.replace("\\\n", " ").split())
