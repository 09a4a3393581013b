"""DuckDB with a Parquet file: `read FILE` prints the types and the rows as JSON, `rewrite FROM TO` makes another one of it."""

import json
import sys

import duckdb

what, path, *more = sys.argv[1:]
duckdb.execute("set timezone = 'UTC'")
if what == "read":
    columns = duckdb.sql(f"describe select * from read_parquet('{path}')").fetchall()
    print(json.dumps({name: kind for name, kind, *_ in columns}))
    names = [name for name, *_ in columns]
    shown = ", ".join(f'"{name}"::varchar' if name != "timestamp" else "epoch_us(timestamp)" for name in names)
    for row in duckdb.sql(f"select {shown} from read_parquet('{path}')").fetchall():
        print(json.dumps(dict(zip(names, row))))
else:
    duckdb.execute(f"copy (select * from read_parquet('{path}')) to '{more[0]}' (format parquet)")
