"""The queries that the docs show run on the published file as they stand."""

import re
from pathlib import Path

import duckdb
import pytest

from city311_assets_tests.serving.towns import Town

DOCS = Path(__file__).parents[2] / "docs"
QUERIES = [
    pytest.param(query, id=f"{page}-{number}")
    for page in ("administration", "adding_a_target")
    for block in re.findall(r"```sql\n(.*?)```", (DOCS / f"{page}.md").read_text(), re.DOTALL)
    for number, query in enumerate(filter(str.strip, block.split(";")))
]


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_of_the_docs_runs(town: Town, query: str):
    with duckdb.connect(str(town.path), read_only=True) as conn:
        assert conn.sql(query).columns


def test_the_neighbours_that_the_docs_ask_for_are_found(town: Town):
    (disk,) = (one.values[0] for one in QUERIES if "cell_disk" in str(one.values[0]))
    with duckdb.connect(str(town.path), read_only=True) as conn:
        feed = conn.sql("select feed from requests group by feed order by count(*) desc").fetchone()
        assert feed
        found = conn.sql(str(disk).replace("sf_311", feed[0])).fetchall()
    assert 1 < len(found) <= 7
