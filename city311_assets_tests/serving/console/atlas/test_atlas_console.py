"""The atlas page without a browser: what is chosen, drawn, found and said."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from city311_assets.serving.atlas_page import COLOURS
from city311_assets.serving.console.atlas import months, parts
from city311_assets.serving.console.atlas.figures import OTHER, OUTLIER, place_map, projection
from city311_assets.serving.console.atlas.months import Atlas, atlas_of, months_by_feed
from city311_assets.serving.console.atlas.page import PAGE
from city311_assets.serving.console.atlas.selection import CONTROLS, Selection, selection_of
from city311_assets.serving.console.atlas.words import growth, hours, plain, signed
from city311_assets.serving.console.url_state import values_of
from city311_assets.serving.snapshots import Snapshot, Snapshots
from city311_assets_tests.serving.atlases import FEED, FIRST_CLUSTER, MONTH, SECRETS, atlas_rows
from city311_assets_tests.serving.console.atlas.two_months import (
    CASES,
    FALLEN,
    FALLEN_CLUSTER,
    FEBRUARY,
    HOSTILE,
    HOSTILE_CASE,
    HOSTILE_CLUSTER,
    build,
)


def looked(snapshot: Snapshot, search: str = "") -> tuple[Atlas, Selection, tuple[str, ...]]:
    """Return the map an address chooses, what else it chooses, and what is wrong with it."""
    chosen, problems = selection_of(values_of(search, CONTROLS), snapshot)
    assert chosen is not None
    return atlas_of(snapshot, chosen.feed, chosen.month), chosen, problems


def of_case(atlas: Atlas, record: str) -> dict[str, Any]:
    case = atlas.case(record)
    assert case is not None
    return case


def texts(component: Any) -> list[str]:
    """Return all texts of components, in order."""
    if component is None:
        return []
    if isinstance(component, (list, tuple)):
        return [text for one in component for text in texts(one)]
    children = getattr(component, "children", None)
    return [component] if isinstance(component, str) else texts(children)


def said(component: Any) -> str:
    return "".join(texts(component))


def found_in(component: Any, kind: str) -> Iterator[Any]:
    """Return the components of a type below one."""
    if isinstance(component, (list, tuple)):
        for one in component:
            yield from found_in(one, kind)
    elif component is not None and not isinstance(component, str):
        if type(component).__name__ == kind:
            yield component
        yield from found_in(getattr(component, "children", None), kind)


def drawn_records(figure: dict[str, Any]) -> list[str]:
    return [record for trace in figure["data"] for record in trace["customdata"]]


# What is chosen.


def test_without_an_address_the_newest_month_is_shown_flat(snapshot: Snapshot):
    _, chosen, problems = looked(snapshot)
    assert (chosen.feed, chosen.month, chosen.view, problems) == (FEED, MONTH, "2d", ())
    assert months_by_feed(snapshot) == {FEED: (FEBRUARY, MONTH)}


def test_what_makes_no_sense_in_an_address_is_named_and_the_default_taken(snapshot: Snapshot):
    wrong = "?feed=atlantis&month=2031-01&view=4d&cluster=x&cells=3&points=some&photos=0"
    _, chosen, problems = looked(snapshot, wrong)
    assert (chosen.feed, chosen.month, chosen.view) == (FEED, MONTH, "2d")
    assert (chosen.cluster, chosen.resolution, chosen.is_all) == (None, 9, False)
    assert [problem.split(":")[0] for problem in problems] == [
        "feed atlantis",
        "month 2031-01",
        "view 4d",
        "cluster x",
        "cells 3",
        "points some",
        "photos 0",
    ]
    _, chosen, problems = looked(snapshot, "?month=May")
    assert (chosen.month, problems) == (MONTH, ("month May: a month is written like 2026-03.",))


def test_a_link_leads_back_to_the_view_it_was_made_of(snapshot: Snapshot):
    search = f"?feed={FEED}&month=2026-02&view=3d&cluster={FIRST_CLUSTER}&record=c0004&search=a+b"
    search += "&points=all&photos=3&cells=10"
    _, chosen, _ = looked(snapshot, search)
    assert chosen.link() == f"/atlas{search}"
    _, other, _ = looked(snapshot, chosen.link(record=None, cluster=None).partition("?")[2])
    assert (other.month, other.record, other.cluster, other.search) == (FEBRUARY, None, None, "a b")


# What is drawn.


@pytest.mark.parametrize(("view", "kind"), [("2d", "scattergl"), ("3d", "scatter3d")])
def test_every_case_is_a_point_that_knows_its_record(snapshot: Snapshot, view: str, kind: str):
    atlas, chosen, _ = looked(snapshot, f"?view={view}")
    figure = projection(atlas, chosen)
    assert sorted(drawn_records(figure)) == sorted(atlas.cases["record_id"])
    assert len(atlas.cases) == CASES
    assert {trace["type"] for trace in figure["data"]} == {kind}
    assert all(type(trace["customdata"]) is list for trace in figure["data"])
    at = {
        record: place
        for trace in figure["data"]
        for record, *place in zip(
            trace["customdata"], *(trace[axis] for axis in "xyz"[: int(view[0])]), strict=True
        )
    }
    case = atlas.case("c0010")
    assert case
    names = ("x", "y") if view == "2d" else ("x3", "y3", "z3")
    assert at["c0010"] == pytest.approx([case[name] for name in names], abs=0.001)


def test_large_clusters_have_colours_of_their_own_small_ones_and_outliers_are_grey(tmp_path: Path):
    names = tuple(f"Cluster {number}" for number in range(14))
    path = build(tmp_path, atlas_rows(280, names))
    reader = Snapshots(path)
    with reader.current() as current:
        atlas, chosen, _ = looked(current)
        colours = [trace["marker"]["color"] for trace in projection(atlas, chosen)["data"]]
    reader.close()
    assert colours[:2] == [OUTLIER, OTHER]
    assert sorted(colours[2:]) == sorted(COLOURS)


def test_a_chosen_cluster_stands_out_and_the_rest_fades(snapshot: Snapshot):
    atlas, chosen, _ = looked(snapshot, f"?cluster={FIRST_CLUSTER}")
    *faint, strong = projection(atlas, chosen)["data"]
    assert {of_case(atlas, one)["cluster_id"] for one in strong["customdata"]} == {FIRST_CLUSTER}
    assert (len(strong["customdata"]), strong["opacity"]) == (30, 1)
    assert {trace["opacity"] for trace in faint} == {0.12}


def test_a_chosen_case_and_its_nearest_are_ringed(snapshot: Snapshot):
    atlas, chosen, _ = looked(snapshot, "?record=c0010&view=3d")
    *_, near, own = projection(atlas, chosen)["data"]
    assert (near["customdata"], own["customdata"]) == (
        of_case(atlas, "c0010")["nearest_ids"],
        ["c0010"],
    )
    assert own["marker"]["symbol"] == "diamond"


def test_more_points_than_turn_well_are_sampled_by_cluster_until_all_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(months, "MOST_POINTS", 40)
    reader = Snapshots(build(tmp_path))
    with reader.current() as current:
        atlas, chosen, _ = looked(current)
        few = drawn_records(projection(atlas, chosen))
        sampled = parts.sampled(atlas, chosen)
        (more,) = found_in(sampled, "Link")
        _, every, _ = looked(current, more.href.partition("?")[2])
        assert len(drawn_records(projection(atlas, every))) == CASES
        strong = projection(atlas, looked(current, f"?cluster={FIRST_CLUSTER}")[1])["data"][-1]
    reader.close()
    assert 40 <= len(few) <= 45
    assert {of_case(atlas, one)["cluster_id"] for one in few} == {*atlas.cases["cluster_id"]}
    assert "of 120 cases are drawn" in said(sampled)
    assert len(strong["customdata"]) == 30


def test_the_city_counts_the_chosen_cases_by_cell(snapshot: Snapshot):
    atlas, chosen, _ = looked(snapshot, f"?cluster={FIRST_CLUSTER + 1}&record=c0005&cells=10")
    figure, words = place_map(atlas, chosen, snapshot)
    assert figure
    _, cells, own = figure["data"]
    # Case c0001 of the cluster has no point.
    assert sum(cells["z"]) == 23
    assert own["locations"] == [format(of_case(atlas, "c0005")["cell_10"], "x")]
    assert words.startswith("“Dumped mattresses”: 23 of 24 cases lie in ")
    assert "1 case without a point in the city." in words
    assert all(len(cell) == 15 for cell in cells["locations"])
    wider, _ = place_map(atlas, looked(snapshot)[1], snapshot)
    assert wider
    assert sum(wider["data"][1]["z"]) == CASES - 1


def test_a_file_without_cells_has_no_map_of_the_city_and_says_so(tmp_path: Path):
    reader = Snapshots(build(tmp_path, atlas_rows()))
    with reader.current() as current:
        atlas, chosen, _ = looked(current)
        figure, words = place_map(atlas, chosen, current)
    reader.close()
    assert (figure, "no cells of this city" in words) == (None, True)


# What is found and said.


@pytest.mark.parametrize(
    ("text", "records"),
    [
        ("c0012", ["c0012"]),
        ("graffiti picture", [f"c{number:04}" for number in range(0, CASES, 12)]),
        ("raffiti", []),
        ("onerror", None),
        ("' or 1=1 --", []),
    ],
)
def test_a_search_finds_words_of_caption_kind_cluster_and_record(
    snapshot: Snapshot, text: str, records: list[str] | None
):
    atlas, _, _ = looked(snapshot)
    found = atlas.found(text)
    assert found is not None
    if records is None:
        assert HOSTILE_CASE in found["record_id"]
    else:
        assert found["record_id"].to_list() == records


def test_words_that_are_none_search_for_nothing(snapshot: Snapshot):
    atlas, chosen, _ = looked(snapshot, "?search=%20%3F!")
    assert atlas.found("  ?! ") is None
    assert len(drawn_records(projection(atlas, chosen))) == CASES


def test_the_list_of_clusters_has_the_largest_first_with_its_numbers_and_words(snapshot: Snapshot):
    atlas, chosen, _ = looked(snapshot)
    rows = [texts(row) for row in found_in(parts.cluster_table(atlas, chosen), "Tr")]
    assert [row[-6:] for row in rows[1:3]] == [
        ["Graffiti on walls", "30", "25.0 %", "no month before", "3", "< 1 h"],
        ["Broken street lights", "30", "25.0 %", "about as before", "3", "60 h"],
    ]
    assert rows[3][-3] == "shrinking \N{MINUS SIGN}25 %"
    assert rows[-1][1:] == [" in no cluster", "12", "10.0 %", *["\N{EN DASH}"] * 3]


def test_births_and_deaths_name_what_became_of_whom(snapshot: Snapshot):
    atlas, chosen, _ = looked(snapshot)
    born, gone = (said(one) for one in parts.changes(atlas, chosen))
    assert born == f"New: {HOSTILE} (13 cases), out of Graffiti on walls (5 cases in common)"
    assert gone == (
        f"Gone: “{FALLEN}” (had 3 cases); its cases went to Graffiti on walls (2 cases in common)"
    )
    atlas, chosen, _ = looked(snapshot, "?month=2026-02")
    assert said(parts.changes(atlas, chosen)) == "Not known: there is no map of a month before."


def test_a_case_is_shown_with_photo_caption_method_facts_links_and_nearest(snapshot: Snapshot):
    atlas, chosen, _ = looked(snapshot, "?record=c0012")
    card = parts.case_card(atlas, chosen)
    (image,) = found_in(card, "Img")
    assert image.src == f"/api/thumbnails/{FEED}/c0012.jpg"
    words = said(card)
    for told in (
        "A picture of Graffiti on walls.",
        "method openai, model gpt-6-luna",
        "kind 0",
        "category 0",
        "Quarter 5",
        "2026-03-13",
        "22 h",
        "3 of 5",
    ):
        assert told in words
    (portal, photo) = found_in(card, "A")
    assert (portal.href, portal.rel) == (
        "https://data.example.gov/resource/x.json?id=c0012",
        "noopener noreferrer",
    )
    assert photo.href == "https://photos.example.gov/c0012.jpg"
    links = [one.href for one in found_in(card, "Link")]
    assert [one for one in links if "record=c0016" in one]
    assert not any(secret in words for secret in SECRETS.values())


def test_a_case_without_photo_or_closing_says_so(snapshot: Snapshot):
    atlas, chosen, _ = looked(snapshot, "?record=c0010")
    words = said(parts.case_card(atlas, chosen))
    assert "no photo" in words
    assert "open, or not known" in words
    assert "method case_text, no model" in words
    assert "not judged" in words


def test_a_case_or_cluster_that_the_month_does_not_have_is_said_to_be_absent(snapshot: Snapshot):
    atlas, chosen, _ = looked(snapshot, f"?record=c0999&cluster={FALLEN_CLUSTER}")
    assert said(parts.case_card(atlas, chosen)) == "No case c0999 is on the map of March 2026."
    assert f"Cluster {FALLEN_CLUSTER} is not on the map" in said(parts.cluster_card(atlas, chosen))
    assert len(drawn_records(projection(atlas, chosen))) == CASES


def test_the_biggest_cluster_shows_all_its_photos_a_page_at_a_time(
    snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(parts, "PHOTOS_A_PAGE", 2)
    atlas, chosen, _ = looked(snapshot)
    first = next(found_in(parts.cluster_table(atlas, chosen), "Link"))
    _, chosen, _ = looked(snapshot, first.href.partition("?")[2])
    own = atlas.cases.filter(
        pl.col("cluster_id") == chosen.cluster, pl.col("thumbnail").is_not_null()
    ).sort(["day", "record_id"], descending=True)
    card = parts.cluster_card(atlas, chosen)
    assert next(found_in(card, "Img")).src == f"/api/thumbnails/{FEED}/c0000.jpg"
    assert "number 1 of 4 by size" in said(card)
    assert own.height > 4
    seen: list[str] = []
    while True:
        card = parts.cluster_card(atlas, chosen)
        (grid,) = (one for one in found_in(card, "Div") if one.className == "atlas-small")
        seen += [one.src for one in found_in(grid, "Img")]
        assert f"to {len(seen)} of {own.height}" in said(card)
        # A photo leads to its case and leaves the page of photos as it is.
        record = looked(snapshot, next(found_in(grid, "Link")).href.partition("?")[2])[1]
        assert (record.photos, record.record) == (
            chosen.photos,
            own["record_id"][2 * (chosen.photos - 1)],
        )
        older = [one for one in found_in(card, "Link") if one.children == "Older"]
        if not older or len(seen) > own.height:
            break
        _, chosen, _ = looked(snapshot, older[0].href.partition("?")[2])
    assert seen == [f"/api/thumbnails/{FEED}/{one}.jpg" for one in own["record_id"]]
    # Another cluster begins with its newest.
    assert "photos" not in chosen.link(cluster=HOSTILE_CLUSTER)


def test_hostile_text_reaches_plotly_undone_and_everything_else_as_text(snapshot: Snapshot):
    atlas, chosen, _ = looked(snapshot, f"?record={HOSTILE_CASE}&cluster={HOSTILE_CLUSTER}")
    for view in ("2d", "3d"):
        figure = projection(atlas, looked(snapshot, f"?view={view}")[1])
        assert "<img" not in json.dumps(figure)
        assert "&lt;img" in json.dumps(figure)
    card = parts.case_card(atlas, chosen)
    assert HOSTILE in texts(card)
    assert not [*found_in(card, "Markdown")]


def test_an_older_file_has_no_map_and_says_so(older: Snapshot):
    assert months_by_feed(older) == {}
    assert "There is no map" in said(PAGE.layout(older, ""))


def test_only_few_months_are_kept_in_memory(snapshot: Snapshot):
    made = []
    for number in [*range(months.MONTHS_KEPT + 1), 0]:
        months.keep(snapshot, ("test", number), lambda number=number: made.append(number))
    assert made == [*range(months.MONTHS_KEPT + 1), 0]
    months.keep(snapshot, ("test", 0), lambda: made.append("again"))
    assert made[-1] == 0


@pytest.mark.parametrize(
    ("value", "words"),
    [(None, "\N{EN DASH}"), (0.3, "< 1 h"), (36.0, "36 h"), (124.8, "5.2 d")],
)
def test_hours_are_said_with_their_unit(value: float | None, words: str):
    assert hours(value) == words


def test_numbers_have_their_sign_and_nothing_is_minus_zero():
    assert [signed(one) for one in (1.25, -1.25, -0.04, None)] == [
        "+1.2",
        "\N{MINUS SIGN}1.2",
        "0.0",
        "\N{EN DASH}",
    ]
    assert plain(1234.5) == "1,234.5"
    assert (growth(0.3), growth(None)) == ("growing +30 %", "no month before")
