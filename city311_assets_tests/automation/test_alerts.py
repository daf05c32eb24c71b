"""Alerts: the sensor over real runs, with channels on loopback: who is told what, and when."""

import datetime as dt
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import duckdb
import pytest
from pydantic import SecretStr

from city311_assets.automation import alerts as module
from city311_assets.automation.alerts import Tick, alerts, look, remembered
from city311_assets.automation.outcomes import WILL_RETRY
from city311_assets.automation.problems import State
from city311_assets.bronze.records import records
from city311_assets.bronze.sources import Sources
from city311_assets.feeds.chicago_311 import CHICAGO_311
from city311_assets.feeds.sf_311 import SF_311
from city311_assets.settings import Settings, settings
from city311_assets.warehouse.resource import Warehouse
from city311_assets.warehouse.snapshot import publish
from city311_assets_tests.automation.tested_days import LABEL, Seen, name_the_loop, write
from city311_assets_tests.automation.toys import QUIET, Toys, day, toys
from city311_assets_tests.clients.answers import Asked, Reply, Server, answering, saying
from city311_assets_tests.portals import Portals

SF, CHICAGO = "bronze/sf_311", "bronze/chicago_311"
SECRET = "s3cr3t-part-of-an-address"  # noqa: S105 - made up


@dataclass
class Post:
    """Two channels on loopback; those that are `out` answer with an error."""

    server: Server = field(default_factory=Server)
    out: set[str] = field(default_factory=set)

    def script(self, asked: Asked) -> Reply:
        name = asked.path.rsplit("/", 1)[-1]
        return Reply(b"out of order", 503) if name in self.out else saying({"ok": True})

    def got(self, name: str) -> list[Asked]:
        """Return what a channel took, and forget it."""
        mine = [asked for asked in self.server.asked if asked.path.endswith(f"/{name}")]
        self.server.asked = [asked for asked in self.server.asked if asked not in mine]
        return [] if name in self.out else mine

    @property
    def states(self) -> list[list[str]]:
        """Of each message to the webhook, subject and state of its problems."""
        return [
            [f"{one['subject']} {one['kind']} {one['state']}" for one in asked.json["problems"]]
            for asked in self.got("any")
        ]


@dataclass
class Watch:
    """The alerts over a graph of toys, tick by tick, on a clock that a test moves."""

    some: Toys
    post: Post
    warehouse: Warehouse
    said: Settings
    cursor: str | None = None
    ahead: dt.timedelta = dt.timedelta()

    @property
    def now(self) -> dt.datetime:
        return dt.datetime.now(dt.UTC) + self.ahead

    def tick(self) -> Tick:
        """Look once, through the cursor's text, as the sensor does."""
        state, warning = remembered(self.cursor, self.now)
        assert warning is None
        tick = look(self.some.instance, self.warehouse, self.said, state, self.now)
        self.cursor = tick.state.model_dump_json()
        assert SECRET not in self.cursor + str(tick.told) + str(tick.warnings)
        return tick

    def later(self, hours: float) -> None:
        self.ahead += dt.timedelta(hours=hours)

    def settle(self, **changes: object) -> None:
        self.said = self.said.model_copy(update=changes)


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Watch]:
    post = Post()
    with toys() as some, answering(post.script) as server:
        post.server = server
        said = Settings(
            data_dir=tmp_path,
            alerts="send",
            alerts_slack_webhook_url=SecretStr(f"{server.url}/{SECRET}/slack"),
            alerts_webhook_url=SecretStr(f"{server.url}/{SECRET}/any"),
        )
        warehouse = Warehouse(database=str(said.warehouse_path))
        yield Watch(some, post, warehouse, said)


def test_a_failed_run_is_told_once_and_its_end_once(watch: Watch):
    watch.tick()
    assert watch.post.states == []
    watch.some.broken[SF] = "the portal is away"
    watch.some.run(SF, first=1, last=2)
    watch.tick()
    (message,) = watch.post.got("any")
    (problem,) = message.json["problems"]
    assert problem["days"] == [["2026-03-01", "2026-03-02"]]
    assert "Last error: ConnectionError: the portal is away" in problem["message"]
    assert problem["origin"] == "sample"
    assert message.json["headline"].startswith("SAMPLE DATA")
    watch.tick()
    watch.some.run(SF, first=1, last=2)
    watch.tick()
    assert watch.post.states == []
    watch.some.broken.clear()
    watch.some.run(SF, first=1, last=2)
    watch.tick()
    watch.tick()
    assert watch.post.states == [["sf_311 runs over"]]
    assert State.model_validate_json(watch.cursor or "").problems == {}


def test_a_bad_night_is_one_message_a_channel(watch: Watch):
    watch.some.broken |= {SF: "away", CHICAGO: "away", "job": "disk full"}
    watch.some.bad["sf_311"] = {day(2)}
    for number in (1, 2, 3):
        watch.some.run(SF, first=number)
        watch.some.run(CHICAGO, first=number)
    watch.some.run("silver/requests/sf_311", first=2)
    watch.some.run_job()
    watch.tick()
    assert len(watch.post.got("slack")) == 1
    (states,) = watch.post.states
    assert sorted(states) == [
        "chicago_311 runs opened",
        "publish_snapshot runs opened",
        "sf_311 check opened",
        "sf_311 runs opened",
    ]


def test_one_feed_is_mended_and_the_other_goes_on(watch: Watch):
    watch.some.broken |= {SF: "away", CHICAGO: "away"}
    watch.some.run(SF, CHICAGO, first=1)
    watch.tick()
    assert watch.post.states == [["chicago_311 runs opened", "sf_311 runs opened"]]
    del watch.some.broken[SF]
    watch.some.run(SF, CHICAGO, first=1)
    watch.tick()
    assert watch.post.states == [["sf_311 runs over"]]


def test_what_failed_and_was_mended_between_two_looks_is_no_news(watch: Watch):
    watch.some.broken[SF] = "away"
    watch.some.run(SF, first=1)
    watch.some.broken.clear()
    watch.some.run(SF, first=1)
    watch.tick()
    assert watch.post.states == []


def test_new_days_wait_an_hour_and_a_reminder_a_day(watch: Watch):
    watch.some.broken[SF] = "away"
    watch.some.run(SF, first=1)
    watch.tick()
    watch.some.run(SF, first=2)
    watch.later(0.9)
    watch.tick()
    assert watch.post.states == [["sf_311 runs opened"]]
    watch.later(0.2)
    watch.tick()
    watch.tick()
    assert watch.post.states == [["sf_311 runs continues"]]
    watch.later(23.9)
    watch.tick()
    assert watch.post.states == []
    watch.later(0.2)
    watch.tick()
    assert watch.post.states == [["sf_311 runs continues"]]


def test_a_channel_that_is_out_is_told_when_it_is_back_and_no_other_waits(watch: Watch):
    watch.post.out.add("slack")
    watch.some.broken[SF] = "away"
    watch.some.run(SF, first=1)
    tick = watch.tick()
    assert watch.post.states == [["sf_311 runs opened"]]
    (warning,) = tick.warnings
    assert warning.startswith("slack-webhook was not reached and is tried again: RefusedError: ")
    watch.tick()
    watch.post.got("slack")
    watch.post.out.clear()
    watch.tick()
    watch.tick()
    (message,) = watch.post.got("slack")
    assert "NEW San Francisco 311 cases" in message.json["text"]
    assert watch.post.states == []


def test_what_began_and_ended_while_a_channel_was_out_is_told_when_it_is_back(watch: Watch):
    watch.post.out.add("slack")
    watch.some.broken[SF] = "away"
    watch.some.run(SF, first=1)
    watch.tick()
    watch.some.broken.clear()
    watch.some.run(SF, first=1)
    watch.tick()
    assert watch.post.states == [["sf_311 runs opened"], ["sf_311 runs over"]]
    watch.post.got("slack")
    watch.post.out.clear()
    watch.tick()
    watch.tick()
    (message,) = watch.post.got("slack")
    assert "OVER San Francisco 311 cases" in message.json["text"]


def test_a_dry_run_says_what_it_would_send_once_and_it_is_sent_when_sending_is_on(watch: Watch):
    watch.settle(alerts="dry-run")
    watch.some.broken[SF] = "away"
    watch.some.run(SF, first=1)
    (told,) = watch.tick().told
    assert told.startswith("not sent (to slack-webhook, webhook): SAMPLE DATA")
    assert "ConnectionError: away" in told
    assert watch.tick().told == []
    assert watch.post.server.asked == []
    watch.settle(alerts="send")
    watch.tick()
    watch.tick()
    assert watch.post.states == [["sf_311 runs opened"]]


def test_an_end_during_a_dry_run_is_told_to_who_knew_when_sending_is_on_again(watch: Watch):
    watch.some.broken[SF] = "away"
    watch.some.run(SF, first=1)
    watch.tick()
    watch.settle(alerts="dry-run")
    watch.some.broken.clear()
    watch.some.run(SF, first=1)
    watch.tick()
    watch.settle(alerts="send")
    watch.tick()
    watch.tick()
    assert watch.post.states == [["sf_311 runs opened"], ["sf_311 runs over"]]


def test_sending_without_a_channel_is_a_dry_run_that_says_so(watch: Watch):
    watch.settle(alerts_slack_webhook_url=None, alerts_webhook_url=None)
    watch.some.broken[SF] = "away"
    watch.some.run(SF, first=1)
    tick = watch.tick()
    assert "no channel is set" in tick.warnings[0]
    assert tick.told[0].startswith("not sent (to no channel)")


def test_a_failed_check_is_told_by_day_and_over_when_its_days_pass(watch: Watch):
    watch.some.bad["sf_311"] = {day(2), day(3)}
    watch.some.run(SF, "silver/requests/sf_311", first=1, last=4)
    watch.tick()
    (message,) = watch.post.got("any")
    (problem,) = message.json["problems"]
    assert (problem["kind"], problem["days"]) == ("check", [["2026-03-02", "2026-03-03"]])
    assert "It found: examples: example; offenders: 2" in problem["message"]
    watch.some.bad["sf_311"] = {day(3)}
    watch.some.run("silver/requests/sf_311", first=2, last=3)
    watch.tick()
    assert watch.post.states == []
    watch.some.bad.clear()
    watch.some.run("silver/requests/sf_311", first=3)
    watch.tick()
    assert watch.post.states == [["sf_311 check over"]]


def test_a_tag_on_an_old_run_opens_nothing_again(watch: Watch):
    watch.some.broken[SF] = "away"
    failed = watch.some.run(SF, first=1)
    watch.tick()
    watch.some.broken.clear()
    watch.some.run(SF, first=1)
    watch.tick()
    watch.post.states  # noqa: B018 - takes what was posted so far
    state = State.model_validate_json(watch.cursor or "")
    state.seen, state.seen_until = {}, state.seen_until + dt.timedelta(minutes=10)
    watch.cursor = state.model_dump_json()
    later = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=9)
    watch.some.instance.add_run_tags(failed, {WILL_RETRY: "false"})
    with watch.some.instance.run_storage.connect() as conn:  # pyright: ignore[reportAttributeAccessIssue]
        changed = (later.replace(tzinfo=None).isoformat(" "), failed)
        conn.exec_driver_sql("update runs set update_timestamp = ? where run_id = ?", changed)
    watch.tick()
    assert watch.post.states == []


def test_nothing_is_said_before_all_finished_runs_are_read(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
):
    watch.some.broken[SF] = "away"
    watch.some.run(SF, first=1)
    watch.some.broken.clear()
    watch.some.run(SF, first=1)
    monkeypatch.setattr(module, "READ_FOR_SECONDS", -1)
    assert "many runs have finished" in watch.tick().warnings[0]
    monkeypatch.undo()
    watch.tick()
    assert watch.post.states == []


def made(watch: Watch, portal: Portals, day: dt.date, *feeds: str) -> None:
    """Make days of real bronze in the watch's warehouse, asked of a portal on loopback."""
    for feed in (SF_311, CHICAGO_311):
        if feed.name in feeds:
            parts = records(feed)
            done = dg.materialize(
                parts,
                instance=watch.some.instance,
                resources={"warehouse": watch.warehouse, "sources": portal.sources},
                tags={"dagster/partition": day.isoformat()},
                run_config=QUIET,
            )
            assert done.success


def test_a_feed_that_stands_still_is_told_until_it_has_caught_up(watch: Watch, portal: Portals):
    today = dt.datetime.now(dt.UTC).date()
    made(watch, portal, today - dt.timedelta(days=9), "sf_311", "chicago_311")
    made(watch, portal, today - dt.timedelta(days=1), "chicago_311")
    watch.tick()
    assert watch.post.states == [["sf_311 late opened"]]
    watch.tick()
    assert watch.post.states == []
    made(watch, portal, today - dt.timedelta(days=1), "sf_311")
    watch.tick()
    assert watch.post.states == [["sf_311 late over"]]


def test_what_is_late_stays_so_while_the_books_cannot_be_read(
    watch: Watch, portal: Portals, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("city311_assets.automation.newest_copy.LOCK_TIMEOUT_SECONDS", 0.05)
    made(watch, portal, dt.datetime.now(dt.UTC).date() - dt.timedelta(days=9), "sf_311")
    watch.tick()
    assert watch.post.states == [["sf_311 late opened"]]
    watch.some.broken[SF] = "away"
    watch.some.run(SF, first=1)
    with watch.warehouse.door():
        tick = watch.tick()
    assert tick.warnings[0].startswith("freshness is not known: ")
    assert watch.post.states == [["sf_311 runs opened"]]


def ago(days: int) -> dt.date:
    return dt.datetime.now(dt.UTC).date() - dt.timedelta(days=days)


def test_an_unusual_day_is_told_once_and_its_end_once(watch: Watch):
    name_the_loop(watch.warehouse)
    write(watch.warehouse, ago(9), Seen())
    watch.tick()
    (slack,) = watch.post.got("slack")
    assert slack.json["text"].startswith("SAMPLE DATA, nothing of this is about a real city. ")
    assert f"more records of theft than expected in {LABEL} (cell" in slack.json["text"]
    (message,) = watch.post.got("any")
    (problem,) = message.json["problems"]
    assert (problem["kind"], problem["days"]) == ("anomaly", [[str(ago(9)), str(ago(9))]])
    publish(watch.warehouse, watch.said.snapshot_path)
    (query,) = re.findall("`(from .*)`", problem["message"])
    with duckdb.connect(str(watch.said.snapshot_path), read_only=True) as conn:
        assert conn.sql(query).fetchall() == []
    watch.tick()
    for back in (8, 7):
        watch.later(24)
        write(watch.warehouse, ago(back))
        watch.tick()
    assert watch.post.states == []
    write(watch.warehouse, ago(6))
    watch.tick()
    watch.tick()
    assert watch.post.states == [["chicago_crimes anomaly over"]]
    assert State.model_validate_json(watch.cursor or "").problems == {}


def test_an_anomaly_that_grows_is_told_again_and_one_that_was_counted_again_is_over(watch: Watch):
    write(watch.warehouse, ago(9), Seen())
    watch.tick()
    watch.later(24)
    write(watch.warehouse, ago(8), Seen())
    watch.tick()
    watch.tick()
    assert watch.post.states == [
        ["chicago_crimes anomaly opened"],
        ["chicago_crimes anomaly continues"],
    ]
    write(watch.warehouse, ago(8))
    watch.tick()
    assert watch.post.states == []
    write(watch.warehouse, ago(9))
    watch.tick()
    (message,) = watch.post.got("any")
    assert "counted again, its days are as expected" in message.json["problems"][0]["message"]


def test_provisional_days_and_days_of_long_ago_alarm_nobody(watch: Watch):
    write(watch.warehouse, ago(2), Seen(), is_provisional=True)
    write(watch.warehouse, ago(400), Seen())
    write(watch.warehouse, ago(399), Seen("assault"), feed="sf_311")
    assert watch.tick().told == []
    assert watch.post.states == []
    write(watch.warehouse, ago(2), Seen())
    watch.tick()
    assert watch.post.states == [["chicago_crimes anomaly opened"]]


def test_unusual_days_are_not_sent_unless_that_is_asked_for(watch: Watch):
    watch.settle(alerts=Settings.model_fields["alerts"].default)
    write(watch.warehouse, ago(3), Seen())
    (told,) = watch.tick().told
    assert "not sent (to slack-webhook, webhook): SAMPLE DATA" in told
    assert "city311: 1 anomaly" in told
    assert watch.tick().told == []
    assert watch.post.server.asked == []


def test_what_failed_stands_before_what_is_unusual(watch: Watch):
    write(watch.warehouse, ago(3), Seen())
    watch.tick()
    watch.some.broken[SF] = "away"
    watch.some.run(SF, first=1)
    watch.later(24)
    write(watch.warehouse, ago(2), Seen())
    watch.tick()
    assert watch.post.states[1:] == [["sf_311 runs opened", "chicago_crimes anomaly continues"]]


def test_what_is_unusual_stays_so_while_it_cannot_be_read(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("city311_assets.automation.newest_copy.LOCK_TIMEOUT_SECONDS", 0.05)
    write(watch.warehouse, ago(3), Seen())
    watch.tick()
    with watch.warehouse.door():
        warnings = watch.tick().warnings
    assert [warning.split(":")[0] for warning in warnings] == [
        "freshness is not known",
        "unusual days are not known",
    ]
    assert watch.post.states == [["chicago_crimes anomaly opened"]]


def test_streets_and_labels_of_a_hostile_portal_are_text(watch: Watch):
    hostile = "<!channel> @here [x](http://evil.example)\n<b>"
    name_the_loop(watch.warehouse, hostile)
    write(watch.warehouse, ago(3), Seen(streets=(hostile,), record_ids=(hostile,)))
    watch.tick()
    (slack,) = watch.post.got("slack")
    said = slack.json["text"]
    assert said.count("&lt;!channel&gt; @\u200bhere [x](http://evil.example) &lt;b&gt;") == 3
    assert "<" not in said


def test_real_bronze_whose_portal_is_out_is_told_in_the_portals_words(
    watch: Watch, portal: Portals
):
    hostile = "<!channel> @here [x](http://evil.example)\n<b>"
    parts = [*records(SF_311), *records(CHICAGO_311)]

    def answer(asked: Asked) -> Reply:
        return saying({"message": hostile}, 403)

    with answering(answer) as out:
        gone = Sources(origin="portal", portal_url=f"{out.url}/{{portal}}", attempts=1)
        for sources, feed in ((gone, "sf_311"), (portal.sources, "chicago_311")):
            done = dg.materialize(
                parts,
                selection=f'key:"bronze/*{feed}"',
                instance=watch.some.instance,
                resources={"warehouse": watch.warehouse, "sources": sources},
                tags={"dagster/partition": "2026-03-02"},
                run_config=QUIET,
                raise_on_error=False,
            )
            assert done.success == (feed == "chicago_311")
    watch.tick()
    (slack,) = watch.post.got("slack")
    assert "status 403; the server said: &lt;!channel&gt; @\u200bhere [x]" in slack.json["text"]
    (message,) = watch.post.got("any")
    of = {one["subject"]: one for one in message.json["problems"] if one["kind"] == "runs"}
    assert of.keys() == {"sf_311"}
    assert "<!channel> @here [x](http://evil.example) <b>" in of["sf_311"]["message"]


# The sensor itself.


@pytest.fixture
def city(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fresh_settings: None) -> Warehouse:
    """A warehouse in the folder that the settings name."""
    monkeypatch.setenv("CITY311_DATA_DIR", str(tmp_path))
    settings.cache_clear()
    return Warehouse(database=str(settings().warehouse_path))


def sense(
    instance: dg.DagsterInstance, city: Warehouse, cursor: str | None = None
) -> tuple[str, str | None]:
    """Return what a tick of the sensor says, and its cursor."""
    with dg.build_sensor_context(
        instance=instance, cursor=cursor, resources={"warehouse": city}
    ) as context:
        said = alerts(context)
        assert isinstance(said, dg.SkipReason)
        return said.skip_message or "", context.cursor


def test_the_sensor_says_in_its_tick_what_it_would_send_and_remembers_it(city: Warehouse):
    with toys() as some:
        some.broken[SF] = "away"
        some.run(SF, first=1)
        said, cursor = sense(some.instance, city)
        assert said.startswith("not sent (to no channel): SAMPLE DATA")
        said, cursor = sense(some.instance, city, cursor)
        assert said == "no news; problems that last: 1"


def test_alerts_survive_a_restart(city: Warehouse, tmp_path: Path):
    folder = tmp_path / "dagster"
    folder.mkdir()
    with dg.DagsterInstance.local_temp(str(folder)) as instance:
        some = Toys(instance)
        some.broken[SF] = "away"
        some.run(SF, first=1)
        _, cursor = sense(instance, city)
    with dg.DagsterInstance.local_temp(str(folder)) as instance:
        said, cursor = sense(instance, city, cursor)
        assert said == "no news; problems that last: 1"
        Toys(instance).run(SF, first=1)
        said, cursor = sense(instance, city, cursor)
        assert "OVER San Francisco 311 cases" in said


@pytest.mark.parametrize("cursor", ["{", '{"version": 0}', "2026-01-01"])
def test_a_cursor_that_cannot_be_read_is_begun_anew_with_a_warning(city: Warehouse, cursor: str):
    with toys() as some:
        some.broken[SF] = "away"
        some.run(SF, first=1)
        said, kept = sense(some.instance, city, cursor)
    assert said.startswith("the cursor cannot be read and is begun anew")
    assert "runs fail" in said
    assert State.model_validate_json(kept or "").problems.keys() == {"runs sf_311"}


def test_alerts_that_are_off_look_at_nothing(city: Warehouse, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CITY311_ALERTS", "off")
    settings.cache_clear()
    with toys() as some:
        assert sense(some.instance, city, "kept") == ("CITY311_ALERTS is off", "kept")


def test_the_alerts_are_on_without_anyone():
    assert alerts.default_status == dg.DefaultSensorStatus.RUNNING
    assert alerts.minimum_interval_seconds == 60
