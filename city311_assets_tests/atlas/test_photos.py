"""Photos in the graph: links of cases in a real file, fetched from a loopback gateway."""

import datetime as dt
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from io import BytesIO
from pathlib import Path

import dagster as dg
import numpy as np
import polars as pl
import pytest
from PIL import Image

from city311_assets.atlas.photos import (
    ASKED_AGAIN_AFTER,
    NEITHER_PHOTO_NOR_NOT,
    NO_STATUS_OR_NO_LINK,
    USD_A_PHOTO,
    is_settled,
    photo_rows,
    photos,
)
from city311_assets.bronze.sources import Sources
from city311_assets.clients.http import Patience
from city311_assets.clients.photo_links import Links, Photo
from city311_assets.clients.photos import PASSING, Photos
from city311_assets.feeds.chicago_311 import CHICAGO_311
from city311_assets.feeds.feed import Feed
from city311_assets.feeds.sf_311 import SF_311
from city311_assets.partitions import Slice
from city311_assets.settings import settings
from city311_assets.warehouse.errors import SliceRefusedError
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.tables.atlas import PHOTOS
from city311_assets.warehouse.tables.silver import REQUESTS
from city311_assets_tests.clients.answers import Asked, Reply, Server, answering
from city311_assets_tests.gold.town import silver
from city311_assets_tests.portals import materialize, verdict, verdicts

DAY = dt.date(2026, 1, 2)
NEXT = DAY + dt.timedelta(days=1)
PART = Slice(SF_311.name, DAY, NEXT)
NOW = dt.datetime(2026, 2, 1, 12)
HOST = SF_311.photo_hosts[1]
AT_ONCE = 4
STORED = f"from {PHOTOS} where {PHOTOS.where} order by record_id, url"


class PhotosAt(Sources):
    """Sources whose photos come from a gateway that a test serves, at an instant that it sets."""

    gateway: str
    folder: str
    instant: str = NOW.isoformat()

    def now(self) -> dt.datetime:
        return dt.datetime.fromisoformat(self.instant).replace(tzinfo=dt.UTC)

    def photos_of(self, feed: Feed) -> Photos:
        return Photos(
            feed.photo_hosts,
            Path(self.folder),
            gateway=self.gateway,
            at_once=AT_ONCE,
            per_second=1e6,
            patience=Patience(1, 10.0, longest_answer_seconds=10.0),
            clock=self.now,
        )


def drawn(seed: int) -> bytes:
    """A photo that no other seed gives."""
    coarse = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    written = BytesIO()
    Image.fromarray(coarse).resize((96, 64)).save(written, "JPEG")
    return written.getvalue()


def gallery(asked: Asked) -> Reply:
    """A photo under each number; anything else is gone."""
    name = asked.path.rsplit("/", 1)[-1].removesuffix(".jpg")
    return Reply(drawn(int(name))) if name.isdecimal() else Reply(b"", 404)


def link(name: object, host: str = HOST) -> str:
    return f"https://{host}/{name}.jpg"


def publish(
    warehouse: Warehouse, *urls: str | None, day: dt.date = DAY, feed: Feed = SF_311
) -> None:
    """Let a day have one case for each link."""
    rows = silver([day], len(urls), SF_311).with_columns(
        pl.Series("media_url", urls, pl.String), pl.lit(feed.name).alias("feed")
    )
    part = Slice(feed.name, day, day + dt.timedelta(days=1))
    warehouse.replace(REQUESTS, rows.head(len(urls)), part)


def run(
    warehouse: Warehouse,
    server: Server,
    folder: Path,
    *,
    now: dt.datetime = NOW,
    last: dt.date = DAY,
    feed: Feed = SF_311,
) -> dg.ExecuteInProcessResult:
    sources = PhotosAt(
        origin="portal", gateway=server.url, folder=str(folder), instant=now.isoformat()
    )
    return materialize(photos(feed), warehouse, sources, DAY, last)


def statuses(warehouse: Warehouse) -> list[str]:
    return warehouse.read(STORED, PART)["status"].to_list()


def figures(result: dg.ExecuteInProcessResult) -> dict[str, object]:
    (made,) = result.asset_materializations_for_node("__".join(PHOTOS.key(SF_311.name).path))
    return {name: value.value for name, value in made.metadata.items()}


def test_every_link_of_a_case_has_a_row_with_what_it_came_to(warehouse: Warehouse, tmp_path: Path):
    publish(
        warehouse, link(1), link("gone"), None, link(1), link(2, "elsewhere.example"), "a photo",
        "http://127.0.0.1/latest/meta-data",
    )  # fmt: skip
    with answering(gallery) as server:
        result = run(warehouse, server, tmp_path)
    assert result.success
    assert verdicts(result) == {"one_status_a_link": True, "ok_has_a_photo": True}
    rows = warehouse.read(STORED, PART)
    assert rows["status"].to_list() == [
        "ok", "not_found", "ok", "host_not_allowed", "no_link", "private_address",
    ]  # fmt: skip
    assert rows["record_id"].str.slice(-1).to_list() == ["0", "1", "3", "4", "5", "6"]
    assert rows["photo_id"].drop_nulls().unique().to_list() == [
        hashlib.sha256(drawn(1)).hexdigest()
    ]
    assert rows["fetched_at"].to_list() == [NOW, NOW, NOW, None, None, None]
    assert len(server.asked) == 2
    said = figures(result)
    assert (said["asked"], said["downloaded"], said["downloaded_bytes"]) == (2, 1, len(drawn(1)))
    # One photo behind two links is described once.
    assert said["captions_estimate_photos"] == 1
    assert said["captions_estimate_usd"] == round(USD_A_PHOTO, 6) == 0.000165
    assert said["range_statuses"] == {
        "host_not_allowed": 1, "no_link": 1, "not_found": 1, "ok": 2, "private_address": 1,
    }  # fmt: skip


def test_twice_is_once_and_downloads_nothing(warehouse: Warehouse, tmp_path: Path):
    publish(warehouse, *(link(n) for n in range(12)), link("gone"))
    with answering(gallery) as server:
        assert run(warehouse, server, tmp_path).success
        before = warehouse.read(STORED, PART)
        assert len(server.asked) == 13
        again = run(warehouse, server, tmp_path, now=NOW + dt.timedelta(hours=1))
        assert len(server.asked) == 13
    assert warehouse.read(STORED, PART).equals(before)
    assert (figures(again)["asked"], figures(again)["downloaded"]) == (0, 0)


def test_a_day_that_became_empty_is_emptied(warehouse: Warehouse, tmp_path: Path):
    with answering(gallery) as server:
        assert run(warehouse, server, tmp_path).success
        assert statuses(warehouse) == []
        publish(warehouse, link(1))
        run(warehouse, server, tmp_path)
        assert statuses(warehouse) == ["ok"]
        publish(warehouse, None)
        result = run(warehouse, server, tmp_path)
    assert result.success
    assert all(verdicts(result).values())
    assert statuses(warehouse) == []


def test_a_feed_without_photo_links_has_an_empty_slice(warehouse: Warehouse, tmp_path: Path):
    publish(warehouse, None, None, feed=CHICAGO_311)
    with answering(gallery) as server:
        result = run(warehouse, server, tmp_path, feed=CHICAGO_311)
    assert result.success
    assert all(verdicts(result).values())
    assert (warehouse.read(f"from {PHOTOS}", tables=[PHOTOS]).height, server.asked) == (0, [])


def test_a_photo_once_had_stays_when_its_link_dies(warehouse: Warehouse, tmp_path: Path):
    publish(warehouse, link(1))
    gone: list[bool] = []
    with answering(lambda asked: Reply(b"", 404) if gone else gallery(asked)) as server:
        run(warehouse, server, tmp_path)
        gone.append(True)
        before = warehouse.read(STORED, PART)
        for days in (8, 400):
            assert run(warehouse, server, tmp_path, now=NOW + dt.timedelta(days=days)).success
        # Another day's case with the same link has the photo too.
        publish(warehouse, link(1), day=NEXT)
        assert run(warehouse, server, tmp_path, last=NEXT).success
        assert len(server.asked) == 1
        assert warehouse.read(STORED, PART).equals(before)
        assert warehouse.read(f"select status from {PHOTOS}")["status"].to_list() == ["ok"] * 2
        # Without its file it is no photo.
        (tmp_path / before["thumbnail_path"][0]).unlink()
        run(warehouse, server, tmp_path)
    assert (statuses(warehouse), len(server.asked)) == (["not_found"], 2)


def test_a_dead_link_is_asked_again_after_a_week_and_a_passing_fault_the_next_time(
    warehouse: Warehouse, tmp_path: Path
):
    publish(warehouse, link("gone"), link("busy"))

    def script(asked: Asked) -> Reply:
        return Reply(b"", 503 if "busy" in asked.path else 404)

    asked = []
    with answering(script) as server:
        for days in (0, 6, 7):
            run(warehouse, server, tmp_path, now=NOW + dt.timedelta(days=days))
            asked.append(Counter(one.path.rsplit("/", 1)[1] for one in server.asked))
    assert [(seen["gone.jpg"], seen["busy.jpg"]) for seen in asked] == [(1, 1), (1, 2), (2, 3)]
    assert statuses(warehouse) == ["not_found", "unavailable"]


@pytest.mark.parametrize("status", ["ok", "not_found", "host_not_allowed", *sorted(PASSING)])
def test_a_link_is_settled_for_ever_for_a_week_or_not_at_all(status: str):
    asked = Photo("u", status=status, fetched_at=NOW)
    ages = [dt.timedelta(0), ASKED_AGAIN_AFTER - dt.timedelta(seconds=1), ASKED_AGAIN_AFTER]
    settled = [is_settled(asked, NOW + age) for age in ages]
    assert settled == {
        "ok": [True] * 3, "timed_out": [False] * 3, "unavailable": [False] * 3,
    }.get(status, [True, True, False])  # fmt: skip


def test_the_order_of_the_cases_decides_nothing():
    cases = pl.DataFrame({"day": [DAY] * 3, "record_id": ["a", "b", "c"], "url": ["u", "v", "u"]})
    known = {"u": Photo("u", status="not_found"), "v": Photo("v", status="forbidden")}
    rows = photo_rows(cases, known, "sf_311")
    turned = photo_rows(cases.reverse(), dict(reversed(known.items())), "sf_311")
    assert rows.equals(turned.sort("record_id"))
    assert rows["status"].to_list() == ["not_found", "forbidden", "not_found"]


PHOTO_COLUMNS = (
    "photo_id", "path", "thumbnail_path", "mime", "width", "height", "bytes", "phash",
)  # fmt: skip
TAMPERED = [
    ("one_status_a_link", f"delete from {PHOTOS} where record_id like '%-0001'"),
    ("one_status_a_link", f"update {PHOTOS} set url = url || '?' where record_id like '%-0001'"),
    ("one_status_a_link", f"update {REQUESTS} set media_url = null where record_id like '%-0001'"),
    ("ok_has_a_photo", f"update {PHOTOS} set status = 'not_found' where record_id like '%-0001'"),
    ("ok_has_a_photo", f"update {PHOTOS} set status = 'ok'"),
    *(
        ("ok_has_a_photo", f"update {PHOTOS} set {column} = null where status = 'ok'")
        for column in PHOTO_COLUMNS
    ),
    ("ok_has_a_photo", f"update {PHOTOS} set phash = 'F00' where status = 'ok'"),
    ("ok_has_a_photo", f"update {PHOTOS} set photo_id = 'ab' where status <> 'ok'"),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse file with a photo, and a link that is gone."""
    folder = tmp_path_factory.mktemp("made")
    warehouse = Warehouse(database=str(folder / "warehouse.duckdb"))
    publish(warehouse, link("gone"), link(1))
    with answering(gallery) as server:
        assert run(warehouse, server, folder / "photos").success
    return warehouse.path


@pytest.fixture
def copied(made: Path, tmp_path: Path) -> Warehouse:
    """A copy of it, to be spoilt."""
    (tmp_path / "warehouse.duckdb").write_bytes(made.read_bytes())
    return Warehouse(database=str(tmp_path / "warehouse.duckdb"))


@pytest.mark.parametrize(("check", "tampering"), TAMPERED)
def test_an_offender_is_found(copied: Warehouse, check: str, tampering: str):
    offenders = {
        "one_status_a_link": NO_STATUS_OR_NO_LINK, "ok_has_a_photo": NEITHER_PHOTO_NOR_NOT,
    }[check]  # fmt: skip
    assert copied.read(offenders, PART).is_empty()
    with copied.transaction() as session:
        session.run(tampering)
    assert copied.read(offenders, PART)["day"].unique().to_list() == [DAY]


@pytest.mark.parametrize(("check", "tampering"), [TAMPERED[0], TAMPERED[3]])
def test_a_check_sees_what_it_is_for(copied: Warehouse, check: str, tampering: str):
    with copied.transaction() as session:
        session.run(tampering)
    only = dg.AssetSelection.checks(dg.AssetCheckKey(PHOTOS.key(SF_311.name), check))
    sources = Sources(origin="portal")
    said = verdict(materialize(photos(SF_311), copied, sources, DAY, selection=only))
    assert not said.passed
    assert said.metadata["days"].value == [str(DAY)]


def test_a_slice_with_a_bad_row_is_refused_and_the_old_one_kept(copied: Warehouse):
    before = copied.read(STORED, PART)
    for bad in (before.with_columns(status=pl.lit(None, pl.String)), pl.concat([before, before])):
        with pytest.raises(SliceRefusedError):
            copied.replace(PHOTOS, bad, PART)
    assert copied.read(STORED, PART).equals(before)


KILLED = """
import sys
from pathlib import Path
from city311_assets.warehouse.resource import Warehouse
from city311_assets_tests.atlas.test_photos import run
from city311_assets_tests.clients.answers import Server

database, url, folder = sys.argv[1:]
run(Warehouse(database=database), Server(url), Path(folder))
"""


def test_a_run_that_is_killed_goes_on_where_it_was(warehouse: Warehouse, tmp_path: Path):
    links = [link(n) for n in range(60)]
    publish(warehouse, *links)
    folder = tmp_path / "photos"
    given: list[str] = []
    is_resumed = False

    def half(asked: Asked) -> Reply:
        """Thirty photos at once; the others only when the run was resumed."""
        given.append(asked.path)
        is_late = len(given) > 30 and not is_resumed
        return Reply(gallery(asked).body, delay_seconds=600.0 if is_late else 0.0)

    with answering(half) as server:
        command = [sys.executable, "-c", KILLED, warehouse.database, server.url, str(folder)]
        killed = subprocess.Popen(command, env=os.environ | {"PYTHONWARNINGS": "ignore"})
        until = time.monotonic() + 60
        while len(given) < 30 + AT_ONCE and killed.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        killed.send_signal(signal.SIGKILL)
        assert killed.wait() == -signal.SIGKILL
        is_resumed = True
        assert warehouse.read(STORED, PART, [PHOTOS]).is_empty()
        with Links(folder / "links" / f"{SF_311.name}.sqlite") as memory:
            known = memory.known(links)
        assert len(known) == 30
        assert run(warehouse, server, folder).success
        asked = Counter(f"https://{path.removeprefix('/photos/')}" for path in given)
    assert statuses(warehouse) == ["ok"] * 60
    # What had not come when the run was killed is asked again; nothing else is.
    twice = [url for url, times in asked.items() if times > 1]
    assert len(twice) == AT_ONCE
    assert not set(twice) & set(known)
    assert sorted(asked) == sorted(links)
    rows = warehouse.read(STORED, PART)
    for path, photo_id in rows.select("path", "photo_id").iter_rows():
        assert hashlib.sha256((folder / path).read_bytes()).hexdigest() == photo_id
    whole = {*rows["path"], *rows["thumbnail_path"]}
    found = {str(file.relative_to(folder)) for file in folder.glob("??/*")}
    assert {name for name in found if not name.endswith(".part")} == whole


@pytest.mark.usefixtures("fresh_settings")
def test_photos_are_asked_of_the_feeds_hosts_as_the_settings_say(monkeypatch, tmp_path: Path):
    monkeypatch.setenv("CITY311_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("CITY311_PHOTO_REQUESTS_AT_ONCE", "3")
    settings.cache_clear()
    with Sources(origin="portal", attempts=9, timeout_seconds=5.0).photos_of(SF_311) as live:
        assert (live.gateway, live.at_once, live.folder) == (None, 3, tmp_path / "photos")
        assert live.hosts == {*SF_311.photo_hosts}
        assert (live.patience.attempts, live.patience.timeout_seconds) == (3, 5.0)
    with Sources(origin="sample").photos_of(SF_311) as sample:
        assert str(sample.gateway).startswith("http://127.0.0.1:")
        assert sample.hosts == {*SF_311.photo_hosts}
