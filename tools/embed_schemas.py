#!/usr/bin/env python3
"""Turn src/api/schema/*.json into a C header: embed_schemas.py OUT FOLDER.

Each NAME.json becomes a row {name, json} of api_schemas. queries.json maps a
route's pattern (for GET, or with another method before it: "DELETE /path") to
its query parameters (OpenAPI parameter objects).
"""
import json
import pathlib
import sys


def c_string(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def main():
    out, folder = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    rows, queries = [], []
    for path in sorted(folder.glob("*.json")):
        value = json.loads(path.read_text())
        if path.stem == "queries":
            for pattern, parameters in value.items():
                queries += [(pattern, json.dumps(p, separators=(",", ":"))) for p in parameters]
        else:
            rows.append((path.stem, json.dumps(value, separators=(",", ":"))))

    def table(name, field, entries):
        lines = [f"\t{{ {c_string(a)}, {{ {c_string(b)}, {len(b.encode())} }} }},"
                 for a, b in entries]
        return (f"static const struct {{\n\tconst char *{field};\n\tstruct str json;\n}} {name}s[] = {{\n"
                + "\n".join(lines) + f"\n}};\nstatic const size_t {name}_count = {len(entries)};\n")

    out.write_text("/* Made by tools/embed_schemas.py from src/api/schema. */\n"
                   + table("api_schema", "name", rows)
                   + table("api_query_schema", "pattern", queries))


main()
