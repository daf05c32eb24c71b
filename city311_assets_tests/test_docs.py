"""The docs are in step with the code: tables, feeds, commands, links, notebooks."""

import re
import tomllib
from pathlib import Path

import pytest
from typer.main import get_command

from benchmarks import report
from city311_assets.cli.main import app
from city311_assets.feeds.registry import FEEDS
from city311_assets.settings import Settings
from city311_assets.warehouse.tables.registry import TABLES

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
README = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()


def test_the_readme_lists_every_table_and_no_other():
    listed = set(re.findall(r"`((?:bronze|silver|gold|atlas|causal|risk|meta)\.\w+)`", README))
    assert listed == {str(table) for table in TABLES}


def test_the_readme_lists_every_feed_with_its_dataset():
    rows = re.findall(r"^\| `(\w+)` \| ([\w.]+) \| `([\w-]+)` \|$", README, re.MULTILINE)
    assert rows == [(feed.name, feed.city.portal, feed.dataset) for feed in FEEDS.values()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_pages_links_and_make_targets_exist(page: Path):
    text = page.read_text()
    for link in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", text):
        assert link.startswith("https://") or (page.parent / link).exists(), link
    for target in re.findall(r"(?:^|`)make (\w+)", text, re.MULTILINE):
        assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_pages_commands_and_options_exist(page: Path):
    commands = get_command(app).commands  # pyright: ignore[reportAttributeAccessIssue]
    for command, rest in re.findall(r"\bcity311 ([\w-]+)([^`\n#]*)", page.read_text()):
        assert command in commands, command
        known = {option for p in commands[command].params for option in p.opts}
        assert set(re.findall(r"--[\w-]+", rest)) <= known


def test_every_setting_a_page_names_is_one():
    known = {f"CITY311_{name.upper()}" for name in Settings.model_fields}
    for page in [*PAGES, ROOT / ".env.example"]:
        named = set(re.findall(r"CITY311_[A-Z_]+[A-Z]", page.read_text()))
        assert {name for name in named if "TEST" not in name} <= known, page


def test_files_named_as_answers_exist():
    page = (ROOT / "docs" / "where_things_are.md").read_text()
    named = re.findall(r"`((?:[\w]+/)+[\w.]*)`", page)
    package, tests = ROOT / "city311_assets", ROOT / "city311_assets_tests"
    assert len(named) > 15
    for name in named:
        assert any((base / name).exists() for base in (ROOT, package, tests)), name


def test_the_page_of_benchmarks_is_of_what_was_measured():
    assert report.PATH.read_text() == report.page(report.kept())


def test_every_dependency_has_its_reason():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [
        *project["project"]["dependencies"],
        *project["dependency-groups"]["dev"],
    ]
    table = (ROOT / "CONTRIBUTING.md").read_text().split("## Dependencies")[1]
    for requirement in wanted:
        name = re.split(r"[\[<>=~]", requirement)[0]
        assert re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", table), name
