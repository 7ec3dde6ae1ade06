"""The state manager is asked and updated by names that it has; one that was renamed is found at each call."""

from __future__ import annotations

import pytest

BARE = {"annotated": None, "mixed": ("app.py", "pipeline.py"), "unannotated": ()}


@pytest.mark.parametrize("variant", BARE)
@pytest.mark.parametrize("method", ["update_position", "get_state"])
def test_every_call_of_a_method_that_was_renamed_is_found(pipeline_copy, variant, method):
    if BARE[variant] is not None:
        pipeline_copy.without_annotations(*BARE[variant])
    calls = pipeline_copy.lines(rf"(state|self)\.{method}\(")
    assert calls
    pipeline_copy.replace("target/reference/state.py", f"def {method}", "def renamed")
    assert pipeline_copy.check() == {(path, line, "missing-method") for path, line in calls}


def test_state_that_a_method_returns_has_only_its_own_methods(check):
    check(
        {
            "state.py": """
                class RiskState:
                    def exposure(self):
                        return 0

                class RiskStateManager:
                    def __init__(self):
                        self._states = {}

                    def get_state(self, symbol) -> RiskState:
                        return self._states.get(symbol) or RiskState()

                    def fresh(self):
                        return RiskState()

                def use(manager: RiskStateManager):
                    manager.get_state("A").exposure()
                    manager.get_state("A").exposures()  # !missing-method
                    manager.fresh().exposures()  # !missing-method
                    for state in [manager.fresh()]:
                        state.exposure()
                """,
        }
    )


def test_asynchronous_state_is_followed_through_await_and_async_with(check):
    check(
        {
            "state.py": """
                import asyncio
                from contextlib import asynccontextmanager

                class State:
                    async def load(self):
                        return self

                    def commit(self): ...

                class Manager:
                    async def __aenter__(self):
                        return self

                    async def __aexit__(self, *error): ...

                    async def get(self):
                        return State()

                @asynccontextmanager
                async def opened():
                    yield State()

                async def use():
                    async with Manager() as manager, opened() as state:
                        state.commit()
                        state.comit()  # !missing-method
                        (await manager.get()).commit()
                        (await manager.get()).comit()  # !missing-method
                        found = await asyncio.wait_for(manager.get(), 1)
                        found.comit()  # !missing-method
                """,
        }
    )
