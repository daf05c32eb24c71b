"""Many more examples of the properties that hold of whatever others send."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.trial

PYTEST = (
    *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
    "--hypothesis-show-statistics",
)
ROOT = Path(__file__).parents[2]
TIMES = 10
MODULES = (
    "clients/test_any_answer.py",
    "atlas/test_any_caption.py",
    "serving/api/test_any_request.py",
    "serving/console/test_any_address.py",
)
EXAMPLES = re.compile(r"(\d+) passing examples")


def test_ten_times_the_examples_of_everything_that_others_may_send(trial):
    """Answers of portals, of the weather service and of models; pages, files, captions; requests to
    the API and addresses of the console: drawn as in `make test`, ten times as many."""
    figures = {}
    for module in MODULES:
        done = subprocess.run(
            [*PYTEST, str(ROOT / "city311_assets_tests" / module)],
            cwd=ROOT,
            env=os.environ | {"CITY311_TEST_TIMES_EXAMPLES": str(TIMES)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-5_000:]
        figures[Path(module).stem.removeprefix("test_any_")] = sum(
            int(count) for count in EXAMPLES.findall(done.stdout)
        )
    trial.found(**{f"examples_of_an_{name}": f"{count:,}" for name, count in figures.items()})
    assert min(figures.values()) > 50 * TIMES
