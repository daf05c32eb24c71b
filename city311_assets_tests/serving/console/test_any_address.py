"""Whatever an address says, its page is there, and every callback of the page answers."""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from city311_assets.feeds.registry import FEEDS
from city311_assets.serving.app import application
from city311_assets.serving.console.atlas.selection import CONTROLS as ATLAS
from city311_assets.serving.console.data.page import CONTROLS as DATA
from city311_assets.serving.console.delays.selection import CONTROLS as DELAYS
from city311_assets.serving.console.hotspots.asking import PANELS, SELECTION, asked_id
from city311_assets.serving.console.hotspots.bar import PAGE_CONTROLS as HOTSPOTS
from city311_assets.serving.console.pages import PAGES
from city311_assets.serving.console.risk.controls import controls
from city311_assets.settings import Settings
from city311_assets_tests.anything import TEXTS, some
from city311_assets_tests.serving.console.renderer import Prop, Renderer, address
from city311_assets_tests.serving.towns import HOSTILE, RISK_DAYS, Town

CONTROLS = {
    "/hotspots": HOTSPOTS,
    "/atlas": ATLAS,
    "/delays": DELAYS,
    "/risk": controls(),
    "/data": DATA,
}
WORDS = (
    *FEEDS,
    *("2026-03-01", "2026-03-31", "2025-01-01", "2026-03", "2026-02", str(RISK_DAYS[0])),
    *("6", "7", "8", "9", "10", "11", "8.5", "23", "24", "-1", "1e3", "1e300", "inf", "nan"),
    *("all", "yes", "2d", "3d", "blind", "leaks", "cost", "recommendations", "probability"),
    *("arson", "theft", HOSTILE, "att", "bias_corrected", "selected", "share", "gi_star"),
    *(
        "882664c1adfffff",
        "892664c1a0bffff",
        "8928308280fffff",
        "fffffffffffffff",
        "zzzzzzzzzzzzzzz",
    ),
)
VALUES = st.sampled_from(WORDS) | TEXTS


def in_view(props: Mapping[Prop, Any]) -> dict[Prop, Any]:
    """Do what the hotspots page's script does: ask for every panel, as if all were in view."""
    selection = props.get((SELECTION, "data"))
    if not selection or selection["nothing"]:
        return {}
    own = {
        "measure": props.get(("hotspots-measure", "value")),
        "records": props.get(("hotspots-records", "data")),
        "rows": props.get(("hotspots-rows", "data")),
        "width": 1280,
        "values": selection["values"],
    }
    return {(asked_id(name), "data"): own | {"key": selection["keys"][name]} for name in PANELS}


@pytest.fixture(scope="module")
def renderer(town: Town) -> Iterator[Renderer]:
    """A console over the town."""
    server = application(Settings(data_dir=town.data_dir))
    with TestClient(server, "http://localhost", raise_server_exceptions=False) as client:
        yield Renderer(client)


def test_every_page_is_tried():
    assert set(CONTROLS) == {page.path for page in PAGES}


def test_a_page_is_opened_and_its_callbacks_fill_it(renderer: Renderer):
    """Else nothing would be shown by any address."""
    page = renderer.opened("/hotspots", "?feed=chicago_crimes&from=2026-03-01", HOTSPOTS, in_view)
    assert page.faults == []
    assert page.props["hotspots-selection", "data"]["nothing"] is False
    assert page.props["hotspots-map", "figure"]["data"]
    assert len(page.props["hotspots-kpis", "children"]) > 2
    page = renderer.opened("/risk", "?day=never", CONTROLS["/risk"])
    assert "never" in str(page.props["risk-warn", "children"])


@pytest.mark.parametrize("path", CONTROLS)
def test_any_address_is_a_page_whose_every_callback_answers(renderer: Renderer, path: str):
    own = CONTROLS[path]
    names = st.sampled_from([*(one.name for one in own), "unknown"])
    pairs = st.lists(st.tuples(names, VALUES), max_size=4)
    raw = st.sampled_from(["&&", "=", "%", "%zz", "%ff", "?", "#", quote(HOSTILE), ";a=b"])

    @some(6, shrinks=False)
    @given(pairs.map(address), raw | st.just(""))
    def holds(search: str, rest: str) -> None:
        page = renderer.opened(path, search + rest, own, in_view)
        assert page.faults == []

    holds()


@pytest.mark.parametrize(
    ("path", "search"),
    [
        ("/hotspots", "?from=0001-01-01&to=0001-02-01"),
        ("/hotspots", "?to=0001-01-01"),
        ("/hotspots", "?from=9999-12-31"),
        ("/hotspots", "?compare-from=0001-01-01&compare-to=9999-12-31"),
        ("/hotspots", "?feed=[]"),
        ("/atlas", "?cluster=1e300&cells=nan&record=%00"),
        ("/risk", "?cell=-2664c1adffffff"),
        ("/risk", "?cell=8_2_6_4_c_1_a_f"),
        ("/risk", "?hours=1e300&day=9999-12-31"),
        ("/data", "?month=0001-01&feed=x"),
        ("/nowhere", "?a=b"),
    ],
)
def test_an_outlandish_address_is_a_page_too(renderer: Renderer, path: str, search: str):
    assert renderer.opened(path, search, CONTROLS.get(path, ()), in_view).faults == []
