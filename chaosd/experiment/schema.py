"""JSON Schema of experiment files, for editors: generated from the same forms that parse them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from pydantic import BaseModel

from chaosd.experiment.spec import FaultForm
from chaosd.experiment.target import TARGET
from chaosd.experiment.written import BROKERS_MAX, ExperimentForm, StepForm

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def experiment_schema(faults: Mapping[str, FaultForm], targets: Collection[str] = ()) -> dict[str, Any]:
    """JSON Schema (2020-12) of an experiment with these faults; `targets` are offered as the names of targets."""
    schema = ExperimentForm.model_json_schema(by_alias=True)
    definitions: dict[str, Any] = schema["$defs"]
    common = definitions.pop(StepForm.__name__)
    steps = []
    for name, fault in faults.items():
        params = fault.params.model_json_schema(by_alias=True)
        definitions.update(params.get("$defs", {}))
        steps.append(_step(name, fault, common, params))
    schema["properties"]["timeline"]["items"] = {"oneOf": steps}
    if targets:
        file = {"type": "string", "pattern": r"\.ya?ml$", "description": "A target file, from this file's folder."}
        schema["properties"]["target"]["anyOf"] = [{"enum": list(targets)}, file]
    _in_words_of_the_file(schema)
    return {"$schema": _DIALECT, **schema}


def schema_of(form: type[BaseModel]) -> dict[str, Any]:
    """JSON Schema (2020-12) of another file that people write."""
    schema = form.model_json_schema(by_alias=True)
    _in_words_of_the_file(schema)
    return {"$schema": _DIALECT, **schema}


def _in_words_of_the_file(node: Any) -> None:
    """Drop defaults that are numbers where the file has text with a unit; their descriptions name them."""
    if isinstance(node, dict):
        if node.get("type") == "string" and not isinstance(node.get("default", ""), str):
            del node["default"]
        for inner in node.values():
            _in_words_of_the_file(inner)
    elif isinstance(node, list):
        for inner in node:
            _in_words_of_the_file(inner)


def _step(name: str, fault: FaultForm, common: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    own = {
        **common["properties"],
        "fault": {"const": name, "description": params.get("description", "")},
        "on": {"enum": list(fault.things(BROKERS_MAX)), "description": common["properties"]["on"]["description"]},
    }
    if TARGET in fault.on:
        service = {"type": "string", "pattern": rf"^{TARGET}\."}
        own["on"] = {"anyOf": [{"enum": own["on"]["enum"]}, service], "description": own["on"]["description"]}
    else:
        del own["replica"]
    return {
        "type": "object",
        "title": name,
        "properties": {**own, **params.get("properties", {})},
        "required": [*common["required"], *(["on"] if len(fault.on) > 1 else []), *params.get("required", ())],
        "additionalProperties": False,
    }
