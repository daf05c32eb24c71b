"""The notebooks: run from beginning to end over a published file, and committed without output."""

import re
import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from city311_assets_tests.serving.towns import WEEKEND_HOURS

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def said_by(notebook: Path, data: Path, folder: Path) -> str:
    """Run a notebook beside a data folder, and return all that it said."""
    (folder / "notebooks").mkdir()
    (folder / "data").symlink_to(data)
    read = nbformat.read(notebook, as_version=4)
    client = NotebookClient(
        read, timeout=120, resources={"metadata": {"path": str(folder / "notebooks")}}
    )
    client.execute()
    outputs = [output for cell in read.cells for output in cell.get("outputs", [])]
    assert not [output for output in outputs if output.get("name") == "stderr"]
    return "\n".join(
        output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs
    )


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_committed_without_output_and_reads_the_published_file(notebook: Path):
    read = nbformat.read(notebook, as_version=4)
    nbformat.validate(read)
    code = [cell for cell in read.cells if cell.cell_type == "code"]
    assert code
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    source = "\n".join(cell.source for cell in code)
    assert source.count('"../data/city311.duckdb", read_only=True') == 1
    assert "def " not in source


def test_the_tour_shows_every_feed_and_what_was_set_aside(town, tmp_path):
    said = said_by(FOLDER / "first_look.ipynb", town.data_dir, tmp_path)
    assert all(feed in said for feed in ("sf_311", "chicago_crimes", "chicago_311"))
    assert "gold.hotspots" in said


def test_the_question_about_hot_spots_is_answered_from_gold(town, tmp_path):
    said = said_by(FOLDER / "hot_spot_question.ipynb", town.data_dir, tmp_path)
    assert "2026, 3, 1" in said
    assert "whole city" in said
    assert re.search(r"hot_9\d|none", said)


def test_the_own_question_finds_the_planted_wait_of_weekends(town, tmp_path):
    said = said_by(FOLDER / "own_causal_question.ipynb", town.data_dir, tmp_path)
    naive = re.search(r"as they are: ([+-][\d.]+) hours", said)
    found = re.search(r"interval ([+-][\d.]+) to ([+-][\d.]+), p = ([\d.]+)", said)
    placebo = re.search(r"minutes \(([+-][\d.]+) to ([+-][\d.]+)\)", said)
    assert naive
    assert found
    assert placebo
    low, high, p = map(float, found.groups())
    assert low <= WEEKEND_HOURS <= high
    assert high < float(naive[1])
    assert p < 0.01
    assert float(placebo[1]) <= 0 <= float(placebo[2])


def test_a_notebook_without_a_published_file_says_which_is_missing(tmp_path):
    shutil.copy(FOLDER / "first_look.ipynb", tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(Exception, match=r"city311\.duckdb"):
        said_by(tmp_path / "first_look.ipynb", tmp_path / "empty", tmp_path)
