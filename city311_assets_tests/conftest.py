"""What every test stands on: no network but loopback, no settings but these, real DuckDB files."""

import os
import platform
import socket
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from datetime import date
from importlib.metadata import version
from pathlib import Path

import hypothesis
import pytest

for name in [name for name in os.environ if name.startswith("CITY311_")]:
    if not name.startswith("CITY311_TEST_"):
        del os.environ[name]
# The real extracts begin in 2000; partitions are read from the settings when modules are imported.
os.environ["CITY311_START_DATE"] = "2000-01-01"
# Tests run beside each other: threads of linear algebra that wait for each other cost fourfold.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

from city311_assets.settings import Settings, settings
from city311_assets.warehouse.resource import Warehouse
from city311_assets_tests.portals import Portals, portals

# A busy machine is no failure.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")
# A developer's own .env is not what is tested.
Settings.model_config["env_file"] = None

# Begun first, so that the last minutes are short tests that two processes share.
LONG_FILES = (
    "cli/test_main.py",
    "browser.py",
    "atlas/test_months.py",
    "test_lake.py",
    "test_faults.py",
)

LOOPBACK = {"127.0.0.1", "::1", "localhost"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files that take long before the others; `--no-loadscope-reorder` keeps this order."""
    items.sort(key=lambda item: not str(item.path).endswith(LONG_FILES))


@pytest.fixture(autouse=True, scope="session")
def no_network_but_loopback() -> Iterator[None]:
    """Refuse any connection that would leave this machine."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        is_inet = self.family in {socket.AF_INET, socket.AF_INET6}
        if is_inet and (not isinstance(address, tuple) or address[0] not in LOOPBACK):
            raise PermissionError(f"a test wanted to connect to {address}")
        connect(self, address)  # pyright: ignore[reportArgumentType]

    socket.socket.connect = guarded
    yield
    socket.socket.connect = connect


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    """An empty warehouse in a file of its own."""
    return Warehouse(database=str(tmp_path / "warehouse" / "warehouse.duckdb"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real public extracts; skips where it is absent."""
    default = Path(__file__).parents[2] / "shared" / "data" / "real"
    folder = Path(os.environ.get("CITY311_TEST_REAL_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no real extracts in {folder}; set CITY311_TEST_REAL_DATA to their folder")
    return folder


@pytest.fixture
def fresh_settings() -> Iterator[None]:
    """Read the settings anew within the test, and once more after it."""
    settings.cache_clear()
    yield
    settings.cache_clear()


@pytest.fixture(scope="session")
def served_portals() -> Iterator[Portals]:
    """One loopback server for all tests of a process."""
    with portals() as served:
        yield served


@pytest.fixture
def portal(served_portals: Portals) -> Portals:
    """Portals on loopback, empty until the test publishes rows."""
    served_portals.empty()
    return served_portals


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that write pages of the docs."""
    parser.addoption("--trials-report", default=None, help="Page to write the trials' results to.")
    parser.addoption("--faults-page", default=None, help="Page to write the faults' outcomes to.")
    parser.addoption(
        "--references-page", default=None, help="Page to write the references of matching to."
    )


@dataclass
class Trial:
    """What one trial found: figures by name."""

    figures: dict[str, object] = field(default_factory=dict)

    def found(self, **figures: object) -> None:
        """Keep figures for the report."""
        self.figures |= figures


TRIALS = pytest.StashKey[Trial]()


@pytest.fixture
def trial(request: pytest.FixtureRequest) -> Trial:
    """Collects the figures of one trial for docs/trials.md."""
    found = Trial()
    request.node.stash[TRIALS] = found
    return found


TRIALS_PAGE = """\
# Trials

What takes too long for `make test`: seeded; `make trials` runs it and writes this page. Of each the
last run is shown, with its day."""
RESULTS: list[tuple[str, str, str, float, dict[str, object]]] = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep the result of each trial."""
    report = yield
    if report.when == "call" and TRIALS in item.stash:
        doc = " ".join((getattr(getattr(item, "obj", None), "__doc__", None) or item.name).split())
        figures = item.stash[TRIALS].figures
        RESULTS.append((item.name, doc, report.outcome, call.duration, figures))
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Put the trials that ran into the page; those that did not run stay as they last ended."""
    path = session.config.getoption("--trials-report")
    if not path or not RESULTS:
        return
    page = Path(path)
    _, *before = page.read_text().split("\n## ") if page.exists() else ("",)
    sections = {section.partition("\n")[0]: section.strip() for section in before}
    for name, doc, outcome, seconds, figures in RESULTS:
        title = name.removeprefix("test_").replace("_", " ")
        versions = f"DuckDB {version('duckdb')}, Dagster {version('dagster')}"
        lines = [title, "", doc, ""]
        lines += [f"**{outcome}** in {seconds:.0f} s on {date.today()} ({versions}).", ""]
        lines += [f"- {key.replace('_', ' ')}: {value}" for key, value in figures.items()]
        sections[title] = "\n".join(lines).strip()
    told = f"{os.cpu_count()} cores, Python {platform.python_version()}."
    page.write_text("\n\n## ".join([f"{TRIALS_PAGE} {told}", *sections.values()]) + "\n")
