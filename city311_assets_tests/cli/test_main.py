"""The command line as a person meets it: what it makes, what it says, how it exits."""

from pathlib import Path

import pytest

from city311_assets.bronze.sources import SAMPLE, origin_held
from city311_assets.feeds.registry import FEEDS
from city311_assets.warehouse.moving import contents
from city311_assets_tests.commands import Installation

DAYS = ("--from", "2026-03-07", "--to", "2026-03-09")
ROWS = "select feed, sum(records)::int from records_per_day group by feed order by feed"
HEADER = "CaseID,Opened,Closed,Updated,Category,Latitude,Longitude"
CASE = "77,03/08/2026 11:30:00 PM,,03/09/2026 08:00:00 AM,Graffiti,37.77,-122.42"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """Three days of the sample city, materialized once."""
    installation = Installation.small(tmp_path_factory.mktemp("made"))
    # All but the maps, for which each lane would compile for a quarter of a minute.
    graph = ("--select", 'not key:"atlas/projections/*"')
    done = installation.run("materialize", *DAYS, *graph, "--processes", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    for lane in ("chicago", "new_york", "san_francisco"):
        assert f"{lane}: {DAYS[1]} to {DAYS[3]}: done, 3/3 days" in done.stdout
    return installation


def test_a_range_of_days_goes_through_the_whole_graph_and_is_published(made: Installation):
    rows = made.query("select table_name, estimated_size from duckdb_tables() order by 1")
    held = dict(rows)
    assert held["requests"] > 60
    assert held["incidents"] > 20
    assert (held["weather_days"], held["boundaries"]) == (9, 432)
    assert {feed for feed, _ in made.query(ROWS)} == set(FEEDS)
    assert made.query("select distinct is_sample from records_per_day") == [(True,)]


def test_what_runs_made_moves_to_a_lake_and_back_as_it_was(made: Installation, tmp_path: Path):
    address, lake = f"ducklake:sqlite:{tmp_path}/catalogue.sqlite", {}
    lake["CITY311_DATA_PATH"] = str(tmp_path / "lake")
    done = made.run("move", "--to", address, **lake)
    assert done.returncode == 0, done.stderr
    other = Installation.small(tmp_path, CITY311_WAREHOUSE=address, **lake)
    assert "holds sample records, CITY311_SOURCE is sample" in other.run("doctor").stdout
    done = other.run("move", "--to", "native")
    assert done.returncode == 0, done.stderr
    sent, back = (one.warehouse for one in (made, other))
    assert contents(back) == contents(sent)
    assert (origin_held(back), origin_held(sent)) == (SAMPLE, SAMPLE)


def test_the_same_command_again_changes_nothing(made: Installation):
    content = (
        "select count(*), sum(hash(columns(* exclude (observed_until)))::hugeint) from requests"
    )
    before = made.query(content)
    assert (
        made.run("materialize", *DAYS, "--select", "group:bronze or group:silver").returncode == 0
    )
    assert made.query(content) == before


def test_a_selection_materializes_only_itself(made: Installation):
    done = made.run("materialize", *DAYS, "--select", 'key:"silver/weather_days/*"')
    assert done.returncode == 0
    assert "9 slices in 1 runs" in done.stdout


def test_a_table_brings_the_one_it_is_written_with(made: Installation):
    done = made.run("materialize", *DAYS, "--select", 'key:"bronze/sf_311"')
    assert done.returncode == 0, done.stderr
    assert "6 slices in 1 runs" in done.stdout
    assert "bronze/sf_311: 0 added, 0 changed," in done.stdout


SENSELESS = {
    ("--from", "2026-03-09", "--to", "2026-03-07"): "ends (2026-03-07) before it starts",
    ("--from", "2025-12-31", "--to", "2026-01-02"): "set CITY311_START_DATE=2025-12-01",
    ("--from", "2026-03-07", "--to", "2199-01-01"): "after the newest day",
    (*DAYS, "--select", "nope"): "silver/requests/sf_311",
    (*DAYS, "--select", "key:(("): "is no selection of assets",
    ("--from", "yesterday", "--to", "2026-03-07"): "'yesterday' does not match",
}


def test_a_command_that_makes_no_sense_says_why(tmp_path: Path):
    installation = Installation.small(tmp_path)
    commands = [("materialize", *arguments) for arguments in SENSELESS]
    for done, said in zip(installation.run_each(*commands), SENSELESS.values(), strict=True):
        assert done.returncode == 2, done.args
        assert said in done.stderr
        assert "Traceback" not in done.stderr
    assert not Path(installation.settings["CITY311_DATA_DIR"]).exists()


def test_a_setting_that_makes_no_sense_is_named_before_anything_starts(tmp_path: Path):
    done = Installation.small(tmp_path).run("doctor", CITY311_START_DATE="2026-01-05")
    assert done.returncode == 2
    assert "CITY311_START_DATE is 2026-01-05; it must be the first of a month" in done.stderr


def test_a_portal_that_is_down_is_named_and_the_rest_is_made(made: Installation, tmp_path: Path):
    word = "opensesame"
    dead = Installation.small(
        tmp_path,
        CITY311_SOURCE="live",
        CITY311_PORTAL_URL="http://127.0.0.1:9/{portal}",
        CITY311_WEATHER_ARCHIVE_URL="http://127.0.0.1:9",
        CITY311_WEATHER_FORECAST_URL="http://127.0.0.1:9",
        CITY311_HTTP_ATTEMPTS="1",
        CITY311_SOCRATA_APP_TOKEN=word,
    )
    done = dead.run("materialize", *DAYS, "--select", "group:bronze")
    assert done.returncode == 1
    assert "bronze_sf_311" in done.stderr
    assert "127.0.0.1:9/data.sfgov.org" in done.stderr
    kept = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(word.encode() in content for content in kept)
    assert word not in done.stdout + done.stderr


def test_a_file_is_imported_beside_what_is_there(tmp_path: Path):
    real = Installation.small(tmp_path, CITY311_SOURCE="live")
    file = tmp_path / "cases.csv"
    file.write_text(f"{HEADER}\n{CASE}\n")
    done = real.run("import", str(file), "--feed", "sf_311")
    assert done.returncode == 0, done.stderr
    assert "1 records of San Francisco 311 cases" in done.stdout
    assert "bronze/sf_311: 1 added, 0 changed, 0 unchanged, 0 gone" in done.stdout
    # Half past eleven on the night after the clock went forward: seven hours behind UTC.
    row = "select day::varchar, opened_at_utc::varchar, origin from requests"
    assert real.query(row) == [("2026-03-08", "2026-03-09 06:30:00", "file")]


def test_a_real_file_does_not_join_sample_records(made: Installation, tmp_path: Path):
    before = made.query(ROWS)
    file = tmp_path / "cases.csv"
    file.write_text(f"{HEADER}\n{CASE}\n")
    done = made.run("import", str(file), "--feed", "sf_311")
    assert done.returncode == 2
    assert "CITY311_DATA_DIR" in done.stderr
    assert made.query(ROWS) == before


REFUSED = [
    (f"{HEADER}\n{CASE}\n", "chicago_crimes", "it looks like sf_311"),
    (f"{HEADER}\n{CASE}\n", "paris_311", "no feed is called 'paris_311'"),
    ("", "sf_311", "is empty"),
    (f"{HEADER}\n{CASE}\n1,2\n", "sf_311", "Line: 3"),
    (f"{HEADER}\n{CASE.replace('2026', '1999')}\n", "sf_311", "CITY311_START_DATE=1999-03-01"),
]


def test_a_file_that_is_refused_writes_nothing(tmp_path: Path):
    installation = Installation.small(tmp_path)
    commands = []
    for number, (text, feed, _) in enumerate(REFUSED):
        file = tmp_path / f"cases{number}.csv"
        file.write_text(text)
        commands.append(("import", str(file), "--feed", feed))
    for done, (_, _, said) in zip(installation.run_each(*commands), REFUSED, strict=True):
        assert done.returncode == 2, done.args
        assert said in done.stderr
    assert not Path(installation.settings["CITY311_DATA_DIR"]).exists()


def test_the_doctor_is_content_with_what_was_made(made: Installation):
    done = made.run("doctor", "--from", "2026-01-01", "--to", "2026-12-31")
    assert done.returncode == 0, done.stdout
    for feed in FEEDS.values():
        assert f"{feed.city.portal}/{feed.dataset} answers" in done.stdout
    assert "look" not in done.stdout


def test_the_doctor_finds_typing_errors_and_dead_portals(tmp_path: Path):
    dead = Installation.small(
        tmp_path,
        CITY311_SOURCE="live",
        CITY311_SORCE="live",
        CITY311_PORTAL_URL="http://127.0.0.1:9/{portal}",
        CITY311_WEATHER_ARCHIVE_URL="http://127.0.0.1:9",
        CITY311_WEATHER_FORECAST_URL="http://127.0.0.1:9",
    )
    done = dead.run("doctor")
    assert done.returncode == 1
    assert "not settings: CITY311_SORCE" in done.stdout
    assert "look sf_311: http://127.0.0.1:9/data.sfgov.org" in done.stdout


def test_a_snapshot_is_published_once_a_version(made: Installation):
    made.published.unlink()
    assert "published" in made.run("snapshot").stdout
    assert "already published" in made.run("snapshot").stdout


def test_the_demo_refuses_to_show_anything_but_the_sample(tmp_path: Path):
    done = Installation.small(tmp_path, CITY311_SOURCE="live").run("demo")
    assert done.returncode == 2
    assert "CITY311_SOURCE is not sample" in done.stderr


def test_help_names_every_command_with_what_it_does(made: Installation):
    said = made.run("--help").stdout
    for command in ("materialize", "import", "doctor", "snapshot", "discover-types", "demo"):
        assert command in said


def test_kinds_of_a_feed_are_listed_with_the_targets_they_belong_to(tmp_path: Path):
    done = Installation.small(tmp_path).run("discover-types", "--feed", "chicago_311")
    assert done.returncode == 0, done.stderr
    (leak,) = (line for line in done.stdout.splitlines() if line.rstrip().endswith("for Leak"))
    assert leak.split()[2] == "leaks"
    (other,) = (line for line in done.stdout.splitlines() if "Water Lead Test Kit" in line)
    assert other.split()[2] == "leaks?"
    assert Installation.small(tmp_path).run("discover-types", "--feed", "nope").returncode == 2


def test_a_kind_that_did_not_appear_is_named(tmp_path: Path):
    days = ("--days", "1")
    done = Installation.small(tmp_path).run("discover-types", "--feed", "chicago_311", *days)
    assert done.returncode == 1
    assert "not seen in 1 days" in done.stderr
    assert "mend risk/targets" in done.stderr
