"""What the atlas page says in words and lists: clusters, changes, a cluster, a case, what is found.

What belongs here: components made of a map and a selection. What does not: figures, callbacks.
Texts of cases are children of components, never HTML or Markdown.
"""

from typing import Any
from urllib.parse import quote

import polars as pl
from dash import dcc, html
from dash.development.base_component import Component

from city311_assets.serving.atlas_page import METHODS, NAME_METHODS, by_method
from city311_assets.serving.console.atlas.controls import aria
from city311_assets.serving.console.atlas.figures import OTHER, OUTLIER, selected
from city311_assets.serving.console.atlas.months import Atlas
from city311_assets.serving.console.atlas.selection import Selection
from city311_assets.serving.console.atlas.words import (
    UNKNOWN,
    counted,
    growth,
    hours,
    percent,
    short,
)

LISTED = 40
PHOTOS_A_PAGE = 24
LISTED_LETTERS = 110
COLUMNS = (
    ("Cluster", ""),
    ("Cases", "Cases of the window in the cluster"),
    ("Share", "Share of the window's cases"),
    ("Growth", "Its share of the newest month's cases against those before"),
    ("Severity", "Median severity, 1 slight to 5 dangerous, as the model judges"),
    ("Half closed in", "Time until half are closed, open ones counted"),
)


def facts(atlas: Atlas) -> list[Component | str]:
    """Return what the map holds, and how much of it stands on a model."""
    month = atlas.month
    first, last = atlas.cases["day"].min(), atlas.cases["day"].max()
    told = month.told_until
    held = counted(atlas.clusters.height, "cluster")
    said = [f"{counted(atlas.cases.height, 'case')} opened {first} to {last} in {held}"]
    if told:
        said.append(f"as the portal told it by {told:%Y-%m-%d %H:%M} UTC")
    badges = [html.Span("sample data", className="badge sample")] if month.is_sample else []
    if month.is_provisional:
        title = "The month is not over or not told in full; it will change."
        badges.append(html.Span("provisional", className="badge", title=title))
    return [html.Span(" · ".join(said)), *(part for one in badges for part in (" ", one))]


def notes(atlas: Atlas) -> list[Component]:
    """Return what a reader must know of the map, a sentence each."""
    captions = by_method(atlas.cases, METHODS, "caption_method", "caption_model")
    names = by_method(atlas.clusters, NAME_METHODS, "name_method", "name_model")
    models = ", ".join(atlas.cases["embedding_model"].unique().sort())
    said = [
        f"Captions: {captions}.",
        f"Embedding model: {models}.",
        f"Clusters are named by {names}.",
        "Points close to one another are cases that say or show the like; axes have no unit.",
        "The ten largest clusters have a colour; others are grey, cases in none light grey.",
        "On the city's map a case counts in its H3 cell; addresses are not published.",
    ]
    if atlas.month.left_out:
        said.append(
            f"{counted(atlas.month.left_out, 'case')} of the map are no longer among the city's "
            "and left out."
        )
    return [html.Li(one) for one in said]


def sampled(atlas: Atlas, chosen: Selection) -> list[Component | str]:
    """Return how many points are drawn, and the way to all of them or back."""
    every = atlas.cases.height
    drawn = int(atlas.cases["is_drawn"].sum())
    if drawn == every:
        return [f"All {every:,} cases are drawn."]
    if chosen.is_all:
        few = dcc.Link(f"Draw {drawn:,}", href=chosen.link(points=None), className="button")
        return [f"All {every:,} cases are drawn, which turns slowly. ", few]
    more = dcc.Link(f"Draw all {every:,}", href=chosen.link(points="all"), className="button")
    said = (
        f"{drawn:,} of {every:,} cases are drawn, the same share of each cluster; what is searched "
        "for or chosen is drawn in full. "
    )
    return [said, more]


def cluster_table(atlas: Atlas, chosen: Selection) -> Component:
    """Return all clusters, the largest first, each a link that chooses it."""
    rows = [_cluster_row(atlas, chosen, row) for row in atlas.clusters.iter_rows(named=True)]
    outliers = int(atlas.cases["cluster_id"].is_null().sum())
    if outliers:
        cells = [
            html.Td([_mark(OUTLIER), " in no cluster"]),
            html.Td(f"{outliers:,}", className="number"),
            html.Td(percent(outliers / atlas.cases.height), className="number"),
            *(html.Td(UNKNOWN, className="number" if place else "") for place in range(3)),
        ]
        rows.append(html.Tr(cells))
    heads = [
        html.Th(name, scope="col", title=title, className="number" if place in {1, 2, 4, 5} else "")
        for place, (name, title) in enumerate(COLUMNS)
    ]
    return html.Table([html.Thead(html.Tr(heads)), html.Tbody(rows)], className="plain")


def changes(atlas: Atlas, chosen: Selection) -> list[Component]:
    """Return what was born, died, split or merged in the month, a sentence each."""
    rows = atlas.month.events.to_dicts()
    if not rows and chosen.month == chosen.months[0]:
        return [html.Li("Not known: there is no map of a month before.")]
    if not rows:
        return [html.Li("None: no cluster was born, died, split or merged.")]
    there = set(atlas.clusters["cluster_id"])

    def named(cluster: int, name: str) -> Component | str:
        if cluster not in there:
            return f"“{name}”"
        return dcc.Link(name, href=chosen.link(cluster=cluster))

    said = []
    for row in rows:
        others: list[Any] = []
        for cluster, name in zip(row["other_ids"], row["others"], strict=True):
            others += [", ", named(cluster, name)]
        cases = counted(row["size"], "case")
        name = named(row["cluster_id"], row["cluster"])
        before, after = {
            "birth": ("New: ", f" ({cases})"),
            "death": ("Gone: ", f" (had {cases})"),
            "split": ("Split: ", f" ({cases})"),
            "merge": ("Merged: ", f" ({cases})"),
        }.get(row["event"], (f"{row['event']}: ", f" ({cases})"))
        way = {
            "birth": ", out of ",
            "death": "; its cases went to ",
            "split": " into ",
            "merge": " took in ",
        }.get(row["event"], ", with ")
        more = [way, *others[1:], f" ({counted(row['shared_cases'], 'case')} in common)"]
        said.append(html.Li([before, name, after, *(more if others else [])]))
    return said


def cluster_card(atlas: Atlas, chosen: Selection) -> list[Component]:
    """Return what the chosen cluster is about, with its most central cases and their photos."""
    if chosen.cluster is None:
        return []
    row = atlas.cluster(chosen.cluster)
    if row is None:
        return [
            html.P(
                f"Cluster {chosen.cluster} is not on the map of {chosen.month:%B %Y}: it was born "
                "later, or is gone.",
                className="warn",
            ),
            dcc.Link("Show all clusters", href=chosen.link(cluster=None)),
        ]
    exemplars = atlas.some(row["exemplar_ids"])
    colour = atlas.colours.get(chosen.cluster, OTHER)
    place = atlas.clusters["cluster_id"].to_list().index(chosen.cluster) + 1
    said = (
        f"{counted(row['size'], 'case')}, {percent(row['share'])} of the window's: number {place} "
        f"of {atlas.clusters.height} by size; {growth(row['growth'])}. Half closed in "
        f"{hours(row['median_hours_to_close'])}; median severity "
        f"{_severity(row['median_severity'])}."
    )
    terms = ", ".join(row["keywords"])
    return [
        html.H2([_mark(colour), f" {row['name']}"]),
        html.P(row["description"]),
        html.P(said),
        html.P(f"Terms: {terms or UNKNOWN}", className="quiet"),
        html.H3(f"Its most central cases, {exemplars.height} of {row['size']:,}"),
        html.Div(
            [_exemplar(chosen, case) for case in exemplars.iter_rows(named=True)],
            className="atlas-photos",
        )
        if exemplars.height
        else html.P("They are no longer among the city's.", className="quiet"),
        *_photos_of(atlas, chosen),
        _newest_of(atlas, chosen),
        dcc.Link("Show all clusters", href=chosen.link(cluster=None)),
    ]


def _photos_of(atlas: Atlas, chosen: Selection) -> list[Component]:
    """Return all photos of the chosen cluster, the newest first, a page at a time."""
    own = atlas.cases.filter(
        pl.col("cluster_id") == chosen.cluster, pl.col("thumbnail").is_not_null()
    ).sort(["day", "record_id"], descending=True)
    if own.is_empty():
        return []
    pages = -(-own.height // PHOTOS_A_PAGE)
    page = min(chosen.photos, pages)
    first = (page - 1) * PHOTOS_A_PAGE
    shown = own.slice(first, PHOTOS_A_PAGE)
    ways = [("Newer", page - 1), ("Older", page + 1)]
    links = [
        dcc.Link(words, href=chosen.link(photos=other))
        for words, other in ways
        if 1 <= other <= pages
    ]
    return [
        html.H3(
            f"All its photos, newest first: {first + 1:,} to {first + shown.height:,} of "
            f"{own.height:,}"
        ),
        html.Div(
            [_small(chosen, case) for case in shown.iter_rows(named=True)], className="atlas-small"
        ),
        html.P([part for link in links for part in (" · ", link)][1:]),
    ]


def _small(chosen: Selection, case: dict[str, Any]) -> Component:
    text = f"{case['record_id']}, {case['day']}: {case['caption'] or case['kind'] or UNKNOWN}"
    return dcc.Link(
        photo(chosen.feed, case), href=chosen.link(record=case["record_id"]), title=short(text, 200)
    )


def _newest_of(atlas: Atlas, chosen: Selection) -> Component:
    own = atlas.cases.filter(pl.col("cluster_id") == chosen.cluster)
    newest = own.sort(["day", "record_id"], descending=True).head(LISTED)
    more = own.height - newest.height
    said = f"and {more:,} more, older ones, marked on the map" if more else ""
    return html.Details(
        [
            html.Summary(f"Its newest cases, {newest.height} of {own.height:,}"),
            case_list(atlas, chosen, newest),
            html.P(said, className="quiet"),
        ]
    )


def case_card(atlas: Atlas, chosen: Selection) -> list[Component]:
    """Return the chosen case: photo, caption and how it came about, facts, links, nearest cases."""
    if chosen.record is None:
        return [
            html.P(
                "Click a point, or a case in a list, to see its photo and facts.", className="quiet"
            )
        ]
    case = atlas.case(chosen.record)
    if case is None:
        return [
            html.P(
                f"No case {chosen.record} is on the map of {chosen.month:%B %Y}.", className="warn"
            )
        ]
    near = atlas.some(case["nearest_ids"])
    return [
        html.H2(f"Case {case['record_id']}"),
        photo(chosen.feed, case, "atlas-photo"),
        html.P(case["caption"] or "No description.", id="atlas-caption"),
        html.P(method_words(case), className="quiet"),
        _facts_of(atlas, chosen, case),
        portal_links(case),
        html.H3("Nearest cases"),
        case_list(atlas, chosen, near)
        if near.height
        else html.P("None of them is on this map.", className="quiet"),
        dcc.Link("Choose no case", href=chosen.link(record=None)),
    ]


def results(atlas: Atlas, chosen: Selection) -> list[Component]:
    """Return what the search found, as far as a list holds it; nothing where none is asked."""
    if not chosen.search:
        return []
    found, what = selected(atlas, chosen)
    title = html.H2(f"{counted(found.height, 'case')} {what}")
    if found.is_empty():
        hint = "Words are looked for at their beginnings in captions, kinds, clusters and ids."
        return [title, html.P(hint, className="quiet")]
    newest = found.sort(["day", "record_id"], descending=True).head(LISTED)
    more = found.height - newest.height
    said = f"and {more:,} more, older ones, marked on the map" if more else ""
    return [title, case_list(atlas, chosen, newest), html.P(said, className="quiet")]


def case_list(atlas: Atlas, chosen: Selection, cases: pl.DataFrame) -> Component:
    """Return cases as links that choose them."""
    return html.Ol(
        [
            html.Li(
                dcc.Link(
                    [
                        _mark(_colour(atlas, case["cluster_id"])),
                        f" {case['record_id']} · {case['day']} · "
                        + short(
                            case["caption"] or case["kind"] or "no description", LISTED_LETTERS
                        ),
                    ],
                    href=chosen.link(record=case["record_id"]),
                )
            )
            for case in cases.iter_rows(named=True)
        ],
        className="atlas-cases",
    )


def photo(feed: str, case: dict[str, Any], name: str = "") -> Component:
    """Return a case's thumbnail, or that there is none."""
    if case["thumbnail"] is None:
        return html.Div("no photo", className="atlas-no-photo quiet")
    given: dict[str, Any] = {"id": name} if name else {}
    return html.Img(
        src=f"/api/thumbnails/{quote(feed, safe='')}/{quote(case['record_id'], safe='')}.jpg",
        alt=f"Photo of case {case['record_id']}",
        className="atlas-photo",
        **given,
    )


def portal_links(case: dict[str, Any]) -> Component:
    """Return the ways to a case's record and photo where the city publishes them."""
    told = " (made up, unknown there)" if case["origin"] == "sample" else ""
    links = [
        html.A(words, href=case[name], target="_blank", rel="noopener noreferrer")
        for name, words in (
            ("record_url", f"Record at the portal{told}"),
            ("photo_url", "Photo at its host"),
        )
        if case[name]
    ]
    return html.P([part for link in links for part in (" · ", link)][1:])


def method_words(case: dict[str, Any]) -> str:
    """Return how a case's caption came about: by which method, by which model."""
    if case["caption_method"] is None:
        return "There is no caption of it."
    words = METHODS.get(case["caption_method"], case["caption_method"])
    model = f", model {case['caption_model']}" if case["caption_model"] else ", no model"
    return f"Caption: {words} (method {case['caption_method']}{model})"


def _cluster_row(atlas: Atlas, chosen: Selection, row: dict[str, Any]) -> Component:
    cluster = row["cluster_id"]
    is_chosen = cluster == chosen.cluster
    link = dcc.Link(row["name"], href=chosen.link(cluster=None if is_chosen else cluster))
    cells = [
        html.Td([_mark(_colour(atlas, cluster)), " ", link], title=row["description"]),
        html.Td(f"{row['size']:,}", className="number"),
        html.Td(percent(row["share"]), className="number"),
        html.Td(growth(row["growth"])),
        html.Td(_severity(row["median_severity"]), className="number"),
        html.Td(hours(row["median_hours_to_close"]), className="number"),
    ]
    return html.Tr(cells, className="atlas-chosen" if is_chosen else "")


def _exemplar(chosen: Selection, case: dict[str, Any]) -> Component:
    text = case["caption"] or case["kind"] or "No description."
    link = dcc.Link(f"{case['record_id']}", href=chosen.link(record=case["record_id"]))
    return html.Figure([photo(chosen.feed, case), html.Figcaption([link, f" {short(text, 90)}"])])


def _facts_of(atlas: Atlas, chosen: Selection, case: dict[str, Any]) -> Component:
    cluster: Component | str = "none: it is like few others"
    if case["cluster"]:
        cluster = dcc.Link(case["cluster"], href=chosen.link(cluster=case["cluster_id"]))
    severity = "not judged" if case["severity"] is None else f"{case['severity']} of 5"
    took = case["hours_to_close"]
    rows = [
        ("Cluster", [_mark(_colour(atlas, case["cluster_id"])), " ", cluster]),
        ("Kind", case["kind"] or UNKNOWN),
        ("Category", case["category"] or UNKNOWN),
        ("Neighbourhood", case["neighborhood"] or UNKNOWN),
        ("Opened", str(case["day"])),
        ("Closed after", "open, or not known" if took is None else hours(took)),
        ("Severity", severity),
    ]
    return html.Dl(
        [part for name, value in rows for part in (html.Dt(name), html.Dd(value))],
        className="atlas-facts",
    )


def _colour(atlas: Atlas, cluster: int | None) -> str:
    return OUTLIER if cluster is None else atlas.colours.get(cluster, OTHER)


def _mark(colour: str) -> Component:
    return html.Span("●", style={"color": colour}, className="atlas-mark", **aria(hidden="true"))


def _severity(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:g}"
