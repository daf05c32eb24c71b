"""The API while many ask and newer data is published."""

import threading
from pathlib import Path

import pytest

from city311_assets_tests.serving.api import busy_city
from city311_assets_tests.serving.api.load import load, percentile, served, told

pytestmark = pytest.mark.trial

REQUESTS, CONNECTIONS, KNOWN = 10_000, 2, 0.7
FEWEST_PER_SECOND, MOST_MS = 200, 50
PUBLISHED_AFTER_SECONDS = 5


def test_ten_thousand_requests_while_a_new_file_is_published(tmp_path: Path, trial):
    """A city of 4,400 cells with seven days of risk, `city311 serve`, 10,000 requests on two
    connections that stay open, each a process: layers of all days, parts of them, outlines and
    histories of cells, 70 % with the tag that was last heard; in the middle of it, other data."""
    city = busy_city.build(tmp_path)
    with served(tmp_path) as server:
        warm = load(server.address, city.paths(), 20 * len(city.paths()), CONNECTIONS, 0.0)
        started = server.cpu_seconds
        publication = threading.Timer(PUBLISHED_AFTER_SECONDS, city.change)
        publication.start()
        heard = load(server.address, city.paths(), REQUESTS, CONNECTIONS, KNOWN)
        publication.join()
        cpu, peak = server.cpu_seconds - started, server.peak_megabytes
        tags = load(server.address, ["/api/layers/risk"], 2_000, CONNECTIONS, 1.0)
        bodies = load(server.address, ["/api/layers/risk"], 500, CONNECTIONS, 0.0)
    trial.found(
        requests=f"{len(heard.milliseconds):,}: {dict(heard.statuses)}",
        errors=len(heard.errors),
        data_versions_seen=len(heard.versions),
        requests_per_second=f"{heard.per_second:,.0f}",
        all_of_them=told(heard.milliseconds),
        not_modified=told(heard.of_known),
        bodies=told(heard.of_bodies),
        risk_citywide_not_modified=f"{tags.per_second:,.0f} a second, {told(tags.milliseconds)}",
        risk_citywide_whole=f"{bodies.per_second:,.0f} a second, {told(bodies.milliseconds)}, "
        f"{bodies.largest_body / 1e6:.3f} MB compressed",
        server=f"{cpu:.0f} CPU-s, {peak:,.0f} MB at most",
    )
    assert heard.errors == warm.errors == tags.errors == bodies.errors == []
    assert len(heard.versions) == 2
    assert tags.per_second >= FEWEST_PER_SECOND
    assert percentile(bodies.milliseconds, 0.99) < MOST_MS
