"""Answers questions with DuckDB for `dugnad bench sql`.

The first line of stdin is {"tables": {NAME: PARQUET}, "views": {NAME: SQL}, "threads": N}; each further line is {"in": SCHEMA,
"sql": TEXT} with the schema `native` (tables of DuckDB's own, loaded beforehand, in memory) or `parquet` (views over the files).
Each line of stdout answers one line: {"seconds": S, "rows": [[...]]}, or {"error": TEXT}.
"""
import json
import resource
import sys
import time

import duckdb


def plain(value):
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return float(value) if type(value).__name__ == "Decimal" else str(value)


def answer(connection, request):
    connection.execute("USE " + request["in"])
    began = time.perf_counter()
    rows = connection.execute(request["sql"]).fetchall()
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "rows": [[plain(value) for value in row] for row in rows]}


def main():
    setup = json.loads(sys.stdin.readline())
    connection = duckdb.connect()
    connection.execute(f"SET threads = {setup['threads']}")
    connection.execute("SET enable_progress_bar = false")  # it would be among the answers
    connection.execute("SET TimeZone = 'Europe/Oslo'")
    for schema, kind in (("native", "TABLE"), ("parquet", "VIEW")):
        connection.execute(f"CREATE SCHEMA {schema}")
        connection.execute(f"USE {schema}")
        for name, path in setup["tables"].items():
            connection.execute(f"CREATE {kind} {name} AS SELECT * FROM read_parquet('{path}')")
        for name, sql in setup["views"].items():
            connection.execute(f"CREATE VIEW {name} AS {sql}")
    print(json.dumps({"version": duckdb.__version__}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request.get("memory"):
                reply = {"peak_rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
            else:
                reply = answer(connection, request)
        except Exception as error:
            reply = {"error": str(error)}
        print(json.dumps(reply), flush=True)


main()
