"""Splits: which days a month's models see, and that no label reaches into the next block."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from city311_assets.risk.methods.splits import Block, Split, last_known, splits

MONTH = dt.date(2026, 3, 1)


def days(count: int, until: dt.date = MONTH) -> list[dt.date]:
    """So many days in a row, of which the last may be labelled on a day."""
    last = last_known(until, 7)
    return [last - dt.timedelta(days=back) for back in range(count)]


def test_the_newest_test_block_ends_on_the_last_day_whose_week_is_over():
    newest, *_ = splits(MONTH, days(400), 7)
    assert newest.test == Block(dt.date(2026, 1, 25), dt.date(2026, 2, 21))
    assert newest.test.last + dt.timedelta(days=7) == MONTH - dt.timedelta(days=1)
    assert newest.calibration == Block(dt.date(2025, 12, 21), dt.date(2026, 1, 17))
    assert newest.training.last == dt.date(2025, 12, 13)


def test_origins_lie_a_block_apart_and_are_three():
    origins = [split.origin for split in splits(MONTH, days(400), 7)]
    assert origins == [dt.date(2026, 1, 25), dt.date(2025, 12, 28), dt.date(2025, 11, 30)]


@given(st.integers(1, 21), st.integers(100, 2_000), st.dates(dt.date(2001, 1, 1)))
def test_no_label_reaches_into_a_later_block_or_the_month(horizon: int, count: int, month: dt.date):
    month = month.replace(day=1)
    known = [month - dt.timedelta(days=back) for back in range(-40, count)]
    for split in splits(month, known, horizon):
        label = dt.timedelta(days=horizon)
        assert split.training.last + label < split.calibration.first
        assert split.calibration.last + label < split.test.first
        assert split.test.last + label < month
        assert split.training.days <= 1_095
        assert split.training.first >= min(known)


def test_training_is_what_is_held_and_at_most_three_years():
    (newest, *_) = splits(MONTH, days(400), 7)
    assert newest.training.first == min(days(400))
    (newest, *_) = splits(MONTH, days(3_000), 7)
    assert newest.training.days == 1_095


@pytest.mark.parametrize(("count", "origins"), [(125, 0), (126, 1), (153, 1), (154, 2), (182, 3)])
def test_an_origin_takes_part_from_56_days_of_training_on(count: int, origins: int):
    assert len(splits(MONTH, days(count), 7)) == origins


def test_days_labelled_only_later_do_not_count():
    late = days(300, dt.date(2026, 6, 1))
    early = [day for day in late if day <= last_known(MONTH, 7)]
    assert splits(MONTH, late, 7) == splits(MONTH, early, 7)
    assert splits(MONTH, [], 7) == ()
    assert splits(MONTH, [MONTH], 7) == ()


@pytest.mark.parametrize("block", ["calibration", "test"])
def test_a_block_of_which_half_is_not_labelled_is_no_block(block: str):
    (whole, *_) = splits(MONTH, days(300), 7)
    lost: Block = getattr(whole, block)
    kept = [day for day in days(300) if not lost.first <= day <= lost.last]
    ends = [lost.first + dt.timedelta(days=n) for n in range(14)]
    assert splits(MONTH, kept, 7) == ()
    assert splits(MONTH, kept + ends[:13], 7) == ()
    assert splits(MONTH, kept + ends, 7)[0] == whole


def test_the_order_of_days_decides_nothing():
    assert splits(MONTH, days(400)[::-1], 7) == splits(MONTH, {*days(400)}, 7)


def test_a_block_has_both_its_ends_and_is_not_turned_round():
    block = Block(dt.date(2026, 1, 1), dt.date(2026, 1, 28))
    assert block.days == 28
    assert Split(block, block, block).origin == block.first
    with pytest.raises(ValueError, match="cannot end on"):
        Block(block.last, block.first)
