"""A writer that gets as far as told, says `ready`, and stays there: to be killed by a test."""

import sys

from city311_assets.warehouse.resource import Session, Warehouse
from city311_assets_tests.warehouse.things import PART, THINGS, things

if __name__ == "__main__":
    database, state = sys.argv[1:]
    with Warehouse(database=database).connect() as conn:
        conn.begin()
        Session(conn).replace(THINGS, things("new", "newer"), PART)
        if state == "committed":
            conn.commit()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.read()
