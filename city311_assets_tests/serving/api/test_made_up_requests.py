"""Requests made up from the API's own description, good ones and bad ones."""

from pathlib import Path

import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from city311_assets.serving.api.app import routes_of
from city311_assets.settings import Settings

EXAMPLES = 30
PATHS = [endpoint.path for endpoint in routes_of(Settings(data_dir=Path("nowhere")))]


@pytest.fixture(scope="module")
def described(place):
    return schemathesis.openapi.from_asgi("/openapi.json", place.server)


# Health has no parameters: nothing can be wrong with a question about it.
@pytest.mark.parametrize(
    ("path", "mode"),
    [(path, mode) for path in PATHS for mode in GenerationMode]
    + [("/health", GenerationMode.POSITIVE)],
)
def test_every_answer_is_one_that_is_described(described, path, mode):
    """A text that fits a pattern may still name no day, no cell and no page: then 422 or 404."""
    operation = described[path]["GET"]

    @hypothesis.given(operation.as_strategy(generation_mode=mode))
    @hypothesis.settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    def holds(case):
        case.call_and_validate(excluded_checks=[positive_data_acceptance])

    holds()
