"""Settings for the whole suite."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "ci",
    max_examples=25,
    deadline=None,
    derandomize=True,
    # Tests that operators share are methods that several classes inherit: the last one allows it.
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.differing_executors,
    ],
)
settings.register_profile(
    "sweep",
    parent=settings.get_profile("ci"),
    max_examples=int(os.environ.get("REFMICRO_EXAMPLES", "2000")),
    derandomize=False,
    print_blob=True,
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests marked `oracle` are skipped, with the reason, where the real TFLM is not here."""
    marked = [item for item in items if item.get_closest_marker("oracle")]
    if not marked:
        return
    from refmicro.errors import EnvironmentMissingError

    try:
        from refmicro import bridge

        bridge.require()
    except (ImportError, EnvironmentMissingError) as error:
        skip = pytest.mark.skip(
            reason=f"the real TFLM is not here ({error}); pip install "
            "refmicro[oracle] and a C++ compiler make it run"
        )
        for item in marked:
            item.add_marker(skip)
