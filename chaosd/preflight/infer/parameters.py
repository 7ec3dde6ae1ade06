"""What the parameters of a function hold when it starts."""

from __future__ import annotations

from chaosd.preflight.index.declared import FunctionInfo
from chaosd.preflight.infer.annotations import promised
from chaosd.preflight.infer.attributes import combined
from chaosd.preflight.infer.frame import Frame
from chaosd.preflight.infer.values import STR, UNKNOWN, ClassRef, Instance, container, one
from chaosd.preflight.infer.world import World


def bind_parameters(world: World, frame: Frame, info: FunctionInfo) -> None:
    """Give each parameter what its annotation says and its call sites pass."""
    spec = info.node.args
    places = [*spec.posonlyargs, *spec.args]
    own = info.cls is not None and not info.is_static
    if own and places:
        first = places.pop(0)
        key = info.cls or ""
        is_class = info.is_class_method
        frame.bind(first.arg, one(ClassRef(key, exact=False) if is_class else Instance(key, own=True)))
    for item in (*places, *spec.kwonlyargs):
        said = promised(world.project, info.source.module, item.annotation)
        frame.bind(item.arg, combined(world, said, world.fed(info, item.arg)))
    if spec.vararg is not None:
        frame.bind(spec.vararg.arg, container(mapping=False, item=UNKNOWN))
    if spec.kwarg is not None:
        frame.bind(spec.kwarg.arg, container(mapping=True, key=STR, item=UNKNOWN))
