"""The page of one month's effects: the same complaint, another neighbourhood, as one file.

What belongs here: what the page says and how it is put together, from frames. What does not: where
the frames come from (`effects_pages`), where the page goes (`atlas_pages`), and what the browser
does with it (`effects_page.js`).
"""

import hashlib
import html
import json
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache
from pathlib import Path
from string import Template
from typing import Any

import polars as pl

from city311_assets.serving.atlas_page import ESCAPES, POLICY, thumbnails
from city311_assets.serving.page_parts import part, plotly_script, script_hash
from city311_assets.warehouse.tables.causal import ATT, DESIGN

# With these a page stays below 10 MB beside plotly's script; base64 makes a third more of pictures.
MOST_CASES = 800
MOST_CONTROLS = 5
MOST_THUMBNAILS = 1_200
MOST_THUMBNAIL_BYTES = 5_000_000
MOST_LETTERS = 400
DIGITS = 6
IMBALANCED_FROM = 0.1
SIGNIFICANT_BELOW = 0.05

ESTIMATORS = {
    "bias_corrected": "matching, corrected for what still differs within pairs",
    "matched": "matching, not corrected",
    "aipw": "doubly robust, cross-fitted: a cross-check",
    "all_cases": "all cases, the open ones through pseudo-observations",
    "naive": "pairs of closed cases with a bootstrap interval, as once published",
    "naive_restricted": "the same with hours limited as in the headline",
}
PLACEBOS = {
    "made_up_neighborhoods": "Made-up neighbourhoods, drawn from the controls",
    "minute_of_opening": "Minute of opening, which no neighbourhood affects",
}
LEFT_OUT = (
    "administrative",
    "duplicates",
    "without_neighborhood",
    "without_vector",
    "without_time",
    "not_sampled",
    "immature",
)
CASE_TEXTS = ("kind", "category", "neighborhood", "caption_method", "caption_model")


@dataclass(frozen=True, slots=True)
class EffectsMonth:
    """What one feed's effects of one month hold, as the published file has them.

    `att`, `balance`, `sensitivity`, `placebo` and `design` (one row) have the columns of their
    tables. `pairs` has those of `causal.matched_pairs` and `turn`, of the cases the page shows
    only, in the order in which they get a picture; `cases` has both sides of them as the atlas
    publishes them. `pairs_held` and `cases_held` count what the month has, `pairs_left_out` what
    was chosen but has a case that the atlas does not publish.
    """

    feed: str
    title: str
    month: date
    att: pl.DataFrame
    balance: pl.DataFrame
    sensitivity: pl.DataFrame
    placebo: pl.DataFrame
    design: pl.DataFrame
    pairs: pl.DataFrame
    cases: pl.DataFrame
    pairs_held: int
    cases_held: int
    pairs_left_out: int = 0
    is_sample: bool = False
    told_until: datetime | None = None

    @property
    def is_provisional(self) -> bool:
        """Whether the month may still change."""
        return bool(self.design["is_provisional"].any() or self.att["is_provisional"].any())

    @property
    def headline(self) -> pl.DataFrame:
        """The rows of `att` that are to be quoted, one a neighbourhood."""
        return self.att.filter("is_headline")


def page(month: EffectsMonth, photos: Path) -> str:
    """Return the page of one feed's month, with thumbnails from the folder of photos."""
    data = json.dumps(
        _data(month, photos), ensure_ascii=False, allow_nan=False, separators=(",", ":")
    )
    script = part("effects_page.js")
    plotly = plotly_script()
    hashes = " ".join(script_hash(text) for text in (plotly, script))
    return Template(part("effects_page.html")).substitute(
        title=html.escape(_title(month)),
        policy=POLICY.format(hashes=hashes),
        style=part("effects_page.css"),
        data=data.translate(ESCAPES),
        plotly=plotly,
        script=script,
    )


@cache
def page_version() -> str:
    """Return a hash of everything in a page that is not its month's: another needs a new page."""
    names = (
        "effects_page.html",
        "effects_page.css",
        "effects_page.js",
        "effects_page.py",
        "page_parts.py",
    )
    return hashlib.sha256("\0".join([*map(part, names), plotly_script()]).encode()).hexdigest()


def pictures(month: EffectsMonth, photos: Path) -> dict[str, str]:
    """Return thumbnails as base64, by record: each neighbourhood's first cases come first."""
    sides = month.pairs.select(pl.concat_list("record_id", "control_id")).to_series().explode()
    order = sides.unique(maintain_order=True).alias("record_id").to_frame()
    wanted = (
        order.join(month.cases, on="record_id", maintain_order="left")
        .filter(pl.col("thumbnail").is_not_null())
        .head(MOST_THUMBNAILS)
    )
    small = thumbnails(wanted, photos)
    kept: dict[str, str] = {}
    left = MOST_THUMBNAIL_BYTES * 4 / 3
    for record in wanted["record_id"]:
        left -= len(small.get(record, ""))
        if left < 0:
            break
        if record in small:
            kept[record] = small[record]
    return kept


def _title(month: EffectsMonth) -> str:
    return f"{month.title}: the same complaint, another neighbourhood, {month.month:%B %Y}"


def _data(month: EffectsMonth, photos: Path) -> dict[str, Any]:
    """Return all that the page's script is told."""
    small = pictures(month, photos)
    record = month.design.row(0, named=True)
    return {
        "feed": month.feed,
        "month": f"{month.month:%Y-%m}",
        "facts": _facts(month, record),
        "banners": _banners(month),
        "caveats": caveats(month, record),
        "notes": _notes(month, len(small)),
        "limit_hours": record["limit_hours"],
        "seed": record["seed"],
        "imbalanced_from": IMBALANCED_FROM,
        "significant_below": SIGNIFICANT_BELOW,
        "estimators": [
            {"name": name, "words": ESTIMATORS.get(name, name)} for name in estimators(month.att)
        ],
        "att_columns": [
            [column.name, column.doc] for column in ATT.columns if column.name in month.att.columns
        ],
        "att": _rows(month.att.sort("neighborhood", "estimator", "k")),
        "balance": _rows(month.balance.sort("neighborhood", "covariate")),
        "sensitivity": _rows(month.sensitivity.sort("neighborhood")),
        "placebo": [
            row | {"words": PLACEBOS.get(row["placebo"], row["placebo"])}
            for row in _rows(month.placebo.sort("placebo"))
        ],
        "left_out": [[_doc(name).removeprefix("Left out: "), record[name]] for name in LEFT_OUT],
        "window": record["cases"],
        "compared": record["compared"],
        "design": [
            [column.name, _shown(record[column.name]), column.doc] for column in DESIGN.columns
        ],
        "pairs": _pairs(month),
        "cases": _cases(month, small),
    }


def estimators(att: pl.DataFrame) -> list[str]:
    """Return the estimators that there are: the headline first, unknown ones last."""
    there = att["estimator"].unique().sort().to_list()
    known = [name for name in ESTIMATORS if name in there]
    quoted = att.filter("is_headline")["estimator"].unique().sort().to_list()
    return [*dict.fromkeys([*quoted, *known, *there])]


def _rows(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Return rows without what is the same in all of them, numbers to six digits."""
    rounded = _finite(frame.drop("feed", "month")).with_columns(
        pl.selectors.float().round_sig_figs(DIGITS), pl.selectors.temporal().cast(pl.String)
    )
    return rounded.to_dicts()


def _finite(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a frame with null for what JSON has no number for."""
    numbers = pl.selectors.float()
    return frame.with_columns(pl.when(numbers.is_finite()).then(numbers).name.keep())


def _pairs(month: EffectsMonth) -> dict[str, list[Any]]:
    """Return the pairs column by column, a case by its place among the cases."""
    place = {record: number for number, record in enumerate(month.cases["record_id"])}
    rounded = ("similarity", "weight", "restricted_hours", "control_restricted_hours")
    rows = _finite(month.pairs)
    return (
        {
            "case": [place[record] for record in rows["record_id"]],
            "control": [place[record] for record in rows["control_id"]],
        }
        | {name: rows[name].to_list() for name in ("match_rank", "is_within_caliper", "stratum")}
        | {name: rows[name].round(3).to_list() for name in rounded}
    )


def _cases(month: EffectsMonth, small: dict[str, str]) -> dict[str, list[Any]]:
    """Return the cases of the pairs column by column."""
    cases = month.cases
    return {
        "record_id": cases["record_id"].to_list(),
        "day": cases["day"].cast(pl.String).to_list(),
        "caption": [_short(text) for text in cases["caption"]],
        "hours_to_close": cases["hours_to_close"].round(1).to_list(),
        "record_url": cases["record_url"].to_list(),
        "has_photo": cases["thumbnail"].is_not_null().to_list(),
        "thumbnail": [small.get(record) for record in cases["record_id"]],
    } | {name: cases[name].to_list() for name in CASE_TEXTS}


def _short(text: str | None) -> str | None:
    return f"{text[:MOST_LETTERS]}…" if text and len(text) > MOST_LETTERS else text


def _doc(name: str) -> str:
    return next(column.doc for column in DESIGN.columns if column.name == name)


def _shown(value: object) -> str:
    """Return a value of the design record as text."""
    if value is None:
        return "none"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value)


def _facts(month: EffectsMonth, record: dict[str, Any]) -> str:
    told = f" · as the portal told it by {month.told_until:%Y-%m-%d %H:%M} UTC"
    return (
        f"Cases opened {record['window_first_day']} to {record['window_last_day']} · "
        f"{record['compared']:,} of {record['cases']:,} compared in "
        f"{record['neighborhoods']:,} neighbourhoods{told if month.told_until else ''}"
    )


def _banners(month: EffectsMonth) -> list[tuple[str, str]]:
    said = {
        ("SAMPLE DATA", "These cases are made up; no city reported them."): month.is_sample,
        ("PROVISIONAL", "The month is not over or not told in full; it will change."): (
            month.is_provisional
        ),
    }
    return [banner for banner, is_shown in said.items() if is_shown]


def caveats(month: EffectsMonth, record: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what must be read before a number is quoted: what it is about, and the words."""
    headline = month.headline
    treated, matched = int(headline["n_treated"].sum()), int(headline["n_matched"].sum())
    limit, mature = record["limit_hours"], record["maturity_at_utc"]
    since = f"before {mature:%Y-%m-%d %H:%M} UTC" if mature else "early enough (none was)"
    younger = f"{record['immature']:,} younger {_form(record['immature'], 'case is', 'cases are')}"
    caveats = {
        "An adjusted disparity": "Nobody assigns a neighbourhood: a number here is the difference "
        "that remains between like complaints, not the effect of a treatment anyone assigned. What "
        "neither photo nor text shows may explain it.",
        f"Hours count up to {limit:g}": f"What is compared is min(T, {limit / 24:g} days): a case "
        f"that took longer, or is still open after that, counts as {limit:g} hours. It is not the "
        "whole wait.",
        "Mature cases": f"The headline compares cases opened {since}, whose hours up to the limit "
        f"are known, open or closed; {younger} left out of it. The estimator all_cases has them "
        "too.",
        "Off the support": f"{treated - matched:,} of {treated:,} cases have no case elsewhere "
        "that is alike enough: counted beside each number, not estimated. A number speaks of the "
        "matched cases alone.",
        "No interval, no verdict": _unproven(headline),
        "Many neighbourhoods are many tests": f"{headline['p'].count():,} were tested: one in "
        "twenty would have p below 0.05 by chance alone. Read q (Benjamini-Hochberg), which allows "
        "for it.",
        "The naive numbers are for comparison only": "They leave out cases that are still open, "
        "and their bootstrap interval is not valid for matched pairs that use a control again.",
        "Alike by a machine's measure": f"{record['distance']}; in common: "
        f"{', '.join(record['strata_of']) or 'the window'}. Whether two cases are the same "
        "complaint is for a person to say: rate some pairs below.",
    }
    return list(caveats.items())


def _unproven(headline: pl.DataFrame) -> str:
    """Say how many neighbourhoods have no interval, and why."""
    without = headline.filter(pl.any_horizontal(pl.col("att_hours", "low", "high").is_null()))
    if without.is_empty():
        return f"All {headline.height:,} neighbourhoods have an interval."
    reasons = without.group_by(pl.col("reason").fill_null("not said")).len().sort("reason")
    said = ", ".join(f"{reason} ({count:,})" for reason, count in reasons.rows())
    have = _form(without.height, "has none and is", "have none and are")
    return (
        f"{without.height:,} of {headline.height:,} neighbourhoods {have} listed, not drawn: "
        f"{said}. That is not a difference of zero."
    )


def _form(count: int, singular: str, plural: str) -> str:
    return singular if count == 1 else plural


def _notes(month: EffectsMonth, shown: int) -> list[str]:
    """Return what a reader must know of the pairs that are shown, a sentence each."""
    cases, pairs = month.pairs["record_id"].n_unique(), month.pairs.height
    chosen = (
        f"{cases:,} of {month.cases_held:,} cases with controls are shown here, with {pairs:,} of "
        f"{month.pairs_held:,} pairs: of each neighbourhood as many, as far as it has them, chosen "
        "by a hash of their ids."
    )
    with_photo = month.cases["thumbnail"].count()
    pictured = f"{shown:,} of their {with_photo:,} cases with a photo show a small picture."
    left_out = (
        f"{month.pairs_left_out:,} chosen pairs hold a case that is no longer among the city's, "
        "and are left out."
    )
    return [chosen, pictured, *([left_out] if month.pairs_left_out else [])]
