"""Duplicates: planted pairs found, near misses left alone, and every limit at its edge."""

import datetime as dt
from typing import Any

import numpy as np
import polars as pl
import pytest

from city311_assets.atlas.methods.duplicates import (
    CASES,
    EARTH_RADIUS_M,
    PAIRS,
    distances_m,
    duplicate_pairs,
)

DAY = dt.date(2026, 3, 10)
NOON = dt.datetime(2026, 3, 10, 12)
NORTH, EAST = 37.76, -122.43
METRE = np.degrees(1 / EARTH_RADIUS_M)
TEXT = "large green sofa with torn cushions blocks the ramp beside the bakery door"
RAMP = "torn cushions and a large green sofa with springs blocks the ramp beside the bakery door"
PHASH = "c3d2a1b4e5f60718"
EVIDENCE: list[dict[str, Any]] = [
    {"text": TEXT},
    {"photo_ids": ["p"]},
    {"phashes": [PHASH]},
]
TEMPLATES = [
    "Garbage and Debris",
    "boxed or bagged items left on public property by unknown persons near the building",
    "graffiti on a private building that faces the public way, not offensive, reported online",
    "request for city container repair, customer states that the lid of the container is broken",
]


def case(record: str, hours: float = 0.0, metres: float = 0.0, **given: Any) -> dict[str, Any]:
    """A case so many hours before noon of the day, so many metres north of a place."""
    opened = NOON - dt.timedelta(hours=hours)
    own = {
        "record_id": record,
        "day": opened.date(),
        "opened_at_utc": opened,
        "latitude": NORTH + metres * METRE,
        "longitude": EAST,
    }
    return own | given


def pairs(*cases: dict[str, Any], first: dt.date = DAY, last: dt.date = DAY) -> pl.DataFrame:
    rows = [dict.fromkeys(CASES) | row for row in cases]
    return duplicate_pairs(pl.DataFrame(rows, schema=CASES), first, last)


def reasons(*cases: dict[str, Any]) -> list[list[str]]:
    return pairs(*cases)["reasons"].to_list()


def flipped(bits: int, seed: int = 1) -> str:
    """The photo's hash with so many bits turned over."""
    places = np.random.default_rng(seed).choice(64, bits, replace=False)
    return f"{int(PHASH, 16) ^ sum(1 << int(place) for place in places):016x}"


class Town:
    """Cases of eight days of a small town, drawn from a seed; most texts are templates."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.rows: list[dict[str, Any]] = []
        stems = [a + b + c for a in "bdfgk" for b in "aeiou" for c in ("lor", "min", "ta")]
        self.words = np.array(
            [f"{a}{b}" for a in stems for b in ("", "s", "n", "tic", "rel", "vo")]
        )

    def text(self, length: int) -> str:
        return " ".join(self.rng.choice(self.words, length, replace=False))

    def edited(self, text: str, kept: float) -> str:
        """The text with the other words replaced."""
        parts = text.split()
        fresh = self.rng.choice(len(parts), round(len(parts) * (1 - kept)), replace=False)
        return " ".join(self.text(1) if i in fresh else word for i, word in enumerate(parts))

    def photo(self, phash: int | None = None) -> dict[str, Any]:
        number = int(self.rng.integers(0, 2**64, dtype=np.uint64)) if phash is None else phash
        return {"photo_ids": [f"{self.rng.integers(0, 2**62):x}"], "phashes": [f"{number:016x}"]}

    def unlike(self, photo: dict[str, Any], bits: int) -> dict[str, Any]:
        """Another photo whose hash differs in so many bits."""
        places = self.rng.choice(64, bits, replace=False)
        return self.photo(int(photo["phashes"][0], 16) ^ sum(1 << int(place) for place in places))

    def place(self) -> tuple[float, float]:
        north, east = self.rng.normal(0, 1_500, 2) * METRE
        return NORTH + north, EAST + east / np.cos(np.radians(NORTH))

    def beside(self, place: tuple[float, float], nearest: float, farthest: float):
        """A place so many metres away, in any direction."""
        metres, angle = self.rng.uniform(nearest, farthest), self.rng.uniform(0, 2 * np.pi)
        east = np.sin(angle) / np.cos(np.radians(NORTH))
        return place[0] + metres * np.cos(angle) * METRE, place[1] + metres * east * METRE

    def add(self, hours: float, place: tuple[float, float], **given: Any) -> str:
        record = f"{self.rng.integers(0, 2**40):011x}-{len(self.rows)}"
        where = {"latitude": place[0], "longitude": place[1]}
        self.rows.append(case(record, hours) | where | given)
        return record

    def case(self) -> None:
        free, template = self.text(int(self.rng.integers(8, 30))), self.rng.choice(TEMPLATES)
        has = self.photo() if self.rng.random() < 0.5 else {}
        text = free if self.rng.random() < 0.4 else str(template)
        self.add(self.rng.uniform(0, 190), self.place(), text=text, **has)

    def event(self, kind: int) -> tuple[str, str]:
        """Two cases of one event: by its parent, the same photo, a near photo or a near text."""
        hours, place, text, photo = (
            self.rng.uniform(0, 11),
            self.place(),
            self.text(16),
            self.photo(),
        )
        before, there = hours + self.rng.uniform(0.1, 150), self.beside(place, 0, 140)
        if kind == 0:
            other = self.add(before, self.place(), text=TEMPLATES[0])
            return self.add(hours, place, text=TEMPLATES[0], parent_record_id=other), other
        own, others = {
            1: ({"text": TEMPLATES[2], **photo}, {"text": TEMPLATES[1], **photo}),
            2: (photo, self.unlike(photo, int(self.rng.integers(1, 8)))),
            3: ({"text": text}, {"text": self.edited(text, self.rng.uniform(0.75, 0.95))}),
        }[kind]
        other = self.add(before, there, **others)
        return self.add(hours, place, **own), other

    def miss(self, kind: int) -> None:
        """Two cases alike in one way: too far, too late, too unlike or too templated in another."""
        hours, place, text, photo = (
            self.rng.uniform(0, 11),
            self.place(),
            self.text(16),
            self.photo(),
        )
        before, there = hours + self.rng.uniform(0.1, 150), self.beside(place, 0, 140)
        both = {"text": text, **photo}
        template = {"text": TEMPLATES[int(self.rng.integers(0, 4))]}
        own, others = {
            0: (both, both),
            1: (both, both),
            2: ({"text": text}, {"text": self.edited(text, self.rng.uniform(0.3, 0.65))}),
            3: (template, template),
            4: (photo, self.unlike(photo, int(self.rng.integers(10, 24)))),
        }[kind]
        if kind == 0:
            there = self.beside(place, 160, 400)
        if kind == 1:
            before = hours + self.rng.uniform(169, 185)
        self.add(before, there, **others)
        self.add(hours, place, **own)


def town(cases: int = 1_240, events: int = 60, misses: int = 200, seed: int = 1):
    """Cases in any order, and the pairs of them that are one event."""
    drawn = Town(seed)
    for _ in range(cases):
        drawn.case()
    truth = {drawn.event(number % 4) for number in range(events)}
    for number in range(misses):
        drawn.miss(number % 5)
    frame = pl.DataFrame([dict.fromkeys(CASES) | row for row in drawn.rows], schema=CASES)
    return frame.sample(frame.height, shuffle=True, seed=seed), truth


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_planted_pairs_are_found_and_near_misses_are_not(seed: int):
    cases, truth = town(seed=seed)
    found = {*duplicate_pairs(cases, DAY, DAY).select("record_id", "other_id").rows()}
    assert (cases.height, len(truth)) == (1_760, 60)
    assert len(found & truth) / len(truth) >= 0.98
    assert len(found & truth) / len(found) >= 0.98


def test_where_nothing_is_planted_nothing_is_found():
    cases, _ = town(events=0, misses=0)
    assert duplicate_pairs(cases, DAY - dt.timedelta(days=7), DAY).height <= 1


def test_every_pair_of_brute_force_is_found_and_no_other():
    rng = np.random.default_rng(4)
    rows = [
        case(
            f"r{n:03}",
            rng.uniform(0, 200),
            latitude=NORTH + rng.uniform(-300, 300) * METRE,
            longitude=EAST + rng.uniform(-400, 400) * METRE,
            phashes=[flipped(int(rng.integers(1, 9)), n)],
        )
        for n in range(250)
    ]
    north, east = (np.array([row[name] for row in rows]) for name in ("latitude", "longitude"))
    metres = distances_m(north[:, None], east[:, None], north[None], east[None])
    expected = set()
    for i, j in np.argwhere(metres <= 150):
        one, other = rows[i], rows[j]
        hours = (one["opened_at_utc"] - other["opened_at_utc"]).total_seconds() / 3_600
        bits = (int(one["phashes"][0], 16) ^ int(other["phashes"][0], 16)).bit_count()
        if 0 < hours <= 168 and bits <= 8:
            expected.add((one["record_id"], other["record_id"]))
    found = pairs(*rows, first=DAY - dt.timedelta(days=9))
    assert len(expected) > 300
    assert {*found.select("record_id", "other_id").rows()} == expected


def test_a_pair_says_how_near_it_is():
    other = case("b", 3.5, 40, text=RAMP, photo_ids=["p1", "p2"], phashes=[PHASH, flipped(30)])
    one = case("a", 0, 0, text=TEXT, photo_ids=["p3"], phashes=[flipped(5)])
    found = pairs(one, other)
    (row,) = found.to_dicts()
    assert dict(found.schema) == PAIRS
    assert row["distance_m"] == pytest.approx(40)
    assert row["text_similarity"] == pytest.approx(12 / 15)
    del row["distance_m"], row["text_similarity"]
    assert row == {
        "day": DAY,
        "record_id": "a",
        "other_id": "b",
        "other_day": DAY,
        "reasons": ["near_photo", "near_text"],
        "hours_apart": 3.5,
        "phash_distance": 5,
    }


def test_reasons_come_strongest_first_and_the_same_photo_is_not_near_too():
    other = case("b", 3, 10, text=TEXT, photo_ids=["p"], phashes=[PHASH])
    one = case("a", 0, 0, text=TEXT, photo_ids=["p"], phashes=[PHASH], parent_record_id="b")
    assert reasons(one, other) == [["parent", "same_photo", "near_text"]]


@pytest.mark.parametrize(("metres", "is_pair"), [(149.9, True), (150.1, False), (151, False)])
def test_150_metres_are_near_and_151_are_not(metres: float, is_pair: bool):
    for evidence in EVIDENCE:
        one, other = case("a", **evidence), case("b", 1, metres, **evidence)
        assert len(pairs(one, other)) == is_pair
        east = np.degrees(metres / EARTH_RADIUS_M) / np.cos(np.radians(NORTH))
        beside = other | {"latitude": NORTH, "longitude": EAST - east}
        assert len(pairs(one, beside)) == is_pair


@pytest.mark.parametrize(("hours", "is_pair"), [(168, True), (168.01, False), (169, False)])
def test_7_days_are_near_and_an_hour_more_is_not(hours: float, is_pair: bool):
    for evidence in EVIDENCE:
        assert len(pairs(case("a", **evidence), case("b", hours, **evidence))) == is_pair


@pytest.mark.parametrize(("bits", "is_pair"), [(0, True), (8, True), (9, False), (64, False)])
def test_photos_that_differ_in_at_most_8_bits_are_near(bits: int, is_pair: bool):
    found = pairs(case("a", phashes=[flipped(bits)]), case("b", 1, phashes=[PHASH]))
    assert found["phash_distance"].to_list() == [bits] * is_pair


def test_a_text_of_7_words_is_too_short_and_repeating_one_makes_none_longer():
    seven = " ".join(TEXT.split()[:7])
    assert reasons(case("a", text=seven), case("b", 1, text=seven)) == []
    again = f"{seven} sofa sofa"
    assert reasons(case("a", text=again), case("b", 1, text=again)) == []
    eight = f"{seven} bakery"
    assert reasons(case("a", text=eight), case("b", 1, text=eight)) == [["near_text"]]


def test_texts_of_which_three_fifths_of_the_words_agree_are_near():
    common = "one two three four five six"
    near = f"{common} seven eight", f"{common} nine ten"
    assert reasons(case("a", text=near[0]), case("b", 1, text=near[1])) == [["near_text"]]
    far = f"{common} seven eight", f"{common} nine ten eleven"
    assert reasons(case("a", text=far[0]), case("b", 1, text=far[1])) == []


def test_case_and_punctuation_of_a_text_do_not_matter():
    assert pairs(case("a", text=TEXT.upper()), case("b", 1, text=TEXT.replace(" ", ", ")))[
        "text_similarity"
    ].to_list() == [1.0]


def test_a_templated_text_is_no_evidence():
    town_ = [case(f"t{n}", 5 * n, 5_000, text=TEXT) for n in range(3)]
    pair = case("a", text=TEXT), case("b", 1, text=TEXT)
    assert reasons(*pair) == [["near_text"]]
    assert reasons(*pair, town_[0]) == [["near_text"]]
    assert reasons(*pair, *town_[:2]) == []


def test_a_template_is_one_whatever_numbers_are_put_in():
    numbered = [
        case(f"t{n}", n, 10 * n, text=f"pothole near house {n} of this block please mend the road")
        for n in range(5)
    ]
    assert reasons(*numbered) == []
    assert reasons(*numbered[:2]) == [["near_text"]]


def test_a_stock_picture_is_no_evidence():
    evidence: dict[str, Any] = {"photo_ids": ["stock"], "phashes": [PHASH]}
    town_ = [case(f"t{n}", 5 * n, 5_000 + 500 * n, **evidence) for n in range(9)]
    pair = case("a", **evidence), case("b", 1, **evidence)
    assert reasons(*pair, *town_[:8]) == [["same_photo"]]
    assert reasons(*pair, *town_) == []


def test_a_parent_may_be_far_away_and_60_days_ago_and_on_either_side():
    child = case("a", parent_record_id="b")
    assert reasons(child, case("b", 60 * 24, 9_000)) == [["parent"]]
    assert reasons(child, case("b", 60 * 24 + 1, 0)) == []
    late = pairs(case("a", 30, parent_record_id="b"), case("b", 2))
    assert late.select("record_id", "other_id", "day").rows() == [("b", "a", DAY)]


def test_a_parent_that_is_not_held_or_is_the_case_itself_makes_no_pair():
    assert reasons(case("a", parent_record_id="gone"), case("b", 1)) == []
    assert reasons(case("a", parent_record_id="a", photo_ids=["p"], text=TEXT)) == []


def test_two_that_name_each_other_are_one_pair():
    one, other = case("a", parent_record_id="b"), case("b", 1, parent_record_id="a")
    assert reasons(one, other) == [["parent"]]


def test_without_a_point_only_a_parent_or_the_same_photo_makes_a_pair():
    nowhere: dict[str, Any] = {"latitude": None, "longitude": None}
    evidence: dict[str, Any] = {"text": TEXT, "photo_ids": ["p"], "phashes": [PHASH]}
    found = pairs(case("a", **evidence, **nowhere), case("b", 1, **evidence))
    assert found.select("reasons", "distance_m").rows() == [(["same_photo"], None)]
    assert reasons(case("a", **evidence, **nowhere), case("b", 169, **evidence, **nowhere)) == []
    alike: dict[str, Any] = evidence | {"photo_ids": ["q"]}
    assert reasons(case("a", **evidence, **nowhere), case("b", 1, **alike, **nowhere)) == []
    child = case("a", parent_record_id="b") | nowhere
    assert reasons(child, case("b", 1)) == [["parent"]]
    half = case("a") | alike | {"longitude": None}
    assert reasons(half, case("b", 1, **evidence)) == []


def test_of_two_opened_at_once_the_larger_number_is_the_later():
    for order in (1, -1):
        both = [case("a", text=TEXT), case("b", text=TEXT)][::order]
        assert pairs(*both).select("record_id", "other_id").rows() == [("b", "a")]


def test_a_pair_belongs_to_the_later_cases_day():
    rows = [case("a", text=TEXT), case("b", 20, text=TEXT)]
    yesterday = DAY - dt.timedelta(days=1)
    assert pairs(*rows, first=yesterday, last=yesterday).is_empty()
    found = pairs(*rows)
    assert found.select("day", "other_day").rows() == [(DAY, yesterday)]


def test_the_order_of_rows_does_not_matter():
    cases, _ = town(cases=300, events=40, misses=40)
    found = duplicate_pairs(cases, DAY, DAY)
    assert found.height >= 38
    assert found.equals(duplicate_pairs(cases.sort("latitude"), DAY, DAY))


def test_a_day_by_itself_is_what_it_is_in_a_range():
    cases, _ = town(cases=400, events=40, misses=40)
    shift = dt.timedelta(days=4)
    later = cases.with_columns(
        pl.col("day") + shift,
        pl.col("opened_at_utc") + shift,
        pl.col("record_id", "parent_record_id") + "x",
    )
    both = pl.concat([cases, later])
    found = duplicate_pairs(both, DAY - dt.timedelta(days=5), DAY + shift)
    for day in found["day"].unique():
        seen = both.filter(pl.col("day").is_between(day - dt.timedelta(days=8), day))
        alone = duplicate_pairs(seen, day, day)
        assert alone.equals(found.filter(pl.col("day") == day))
    assert found["day"].n_unique() > 1


def test_no_cases_have_no_pairs():
    assert pairs().schema == PAIRS
    assert pairs(case("a", text=TEXT)).is_empty()


def test_a_case_with_several_photos_is_as_near_as_the_nearest_two():
    one = case("a", phashes=[flipped(40), flipped(2)])
    assert pairs(one, case("b", 1, phashes=[flipped(33, 5), PHASH]))[
        "phash_distance"
    ].to_list() == [2]


def test_distances_are_great_circle_distances():
    paris, new_york = (48.8566, 2.3522), (40.7128, -74.0060)
    ends = [np.array([value]) for value in (*paris, *new_york)]
    angle = np.arccos(
        np.sin(np.radians(paris[0])) * np.sin(np.radians(new_york[0]))
        + np.cos(np.radians(paris[0]))
        * np.cos(np.radians(new_york[0]))
        * np.cos(np.radians(paris[1] - new_york[1]))
    )
    assert distances_m(*ends)[0] == pytest.approx(EARTH_RADIUS_M * angle, rel=1e-9)
    half = distances_m(*(np.array([v]) for v in (0.0, 0.0, 0.0, 180.0)))
    assert half[0] == pytest.approx(np.pi * EARTH_RADIUS_M)
    assert distances_m(*[np.array([1.0])] * 4)[0] == 0


def test_a_case_given_twice_is_refused():
    with pytest.raises(ValueError, match=r"1 cases are given twice: \['a'\]"):
        pairs(case("a"), case("a", 1))


@pytest.mark.parametrize("strange", ["xyz", PHASH[:15], PHASH + "0"])
def test_what_is_no_hash_is_refused(strange: str):
    with pytest.raises(ValueError, match=r"are no perceptual hashes.*atlas/photos"):
        pairs(case("a", phashes=[strange]))
