"""The one server: what it does by itself."""

import logging
from pathlib import Path

import pytest
from dash import html

from city311_assets.serving.app import _warm
from city311_assets.serving.console.page import Page
from city311_assets.serving.snapshots import Snapshot, Snapshots
from city311_assets_tests.serving.test_snapshots import publish


def page(name: str, warmed: list[str], *, fails: bool = False) -> Page:
    """A page that notes which file it was warmed for."""

    def warm(snapshot: Snapshot) -> None:
        if fails:
            raise ValueError("an older file")
        warmed.append(f"{name} {snapshot.data_version}")

    return Page(name, name, lambda *_: html.P(), lambda *_: None, warm)


def test_pages_are_warmed_once_for_each_published_file(tmp_path: Path):
    path, warmed = tmp_path / "city.duckdb", []
    snapshots, pages = Snapshots(path), (page("a", warmed), page("b", warmed))
    assert _warm(snapshots, pages, "") == ""
    publish(path, 1)
    version = _warm(snapshots, pages, "")
    assert _warm(snapshots, pages, version) == version == "v1"
    assert warmed == ["a v1", "b v1"]
    publish(path, 2)
    assert _warm(snapshots, pages, version) == "v2"
    assert warmed[2:] == ["a v2", "b v2"]


def test_a_page_that_cannot_be_warmed_keeps_no_other_cold(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    path, warmed = tmp_path / "city.duckdb", []
    publish(path, 1)
    pages = (page("broken", warmed, fails=True), page("well", warmed))
    with caplog.at_level(logging.ERROR):
        _warm(Snapshots(path), pages, "")
    assert warmed == ["well v1"]
    assert "/broken could not be warmed" in caplog.text
