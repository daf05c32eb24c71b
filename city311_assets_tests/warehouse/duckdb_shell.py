"""A stranger with a DuckDB file open: answers SQL from its standard input, one line each."""

import sys

import duckdb

if __name__ == "__main__":
    path, mode = sys.argv[1:]
    conn = duckdb.connect(path, read_only=mode == "read_only")
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        if line.strip() == "close":
            conn.close()
            answer = "closed"
        else:
            answer = str(conn.execute(line).fetchall())
        sys.stdout.write(answer + "\n")
        sys.stdout.flush()
