#!/usr/bin/env python3
"""Turn NNNN_name.sql files into a C table: embed_sql.py OUT FILE…

The numbers must run 1, 2, 3, … without a gap; a wrong name stops the build.
"""
import pathlib
import re
import sys

HEAD = """/* Made from src/store/db/migrations by tools/embed_sql.py. */
#include "migrate_internal.h"

const struct sql_migration sql_migrations[] = {
"""


def c_string(data):
    """Lines of C string literals; every byte that is not plain text is escaped in octal."""
    lines = []
    for line in data.splitlines(keepends=True):
        out = []
        for byte in line:
            char = chr(byte)
            if char in '\\"':
                out.append("\\" + char)
            elif char == "\n":
                out.append("\\n")
            elif char == "\t":
                out.append("\\t")
            elif 32 <= byte < 127 and char != "?":
                out.append(char)
            else:
                out.append("\\%03o" % byte)
        lines.append('\t  "' + "".join(out) + '"')
    return "\n".join(lines)


def main():
    target, *names = sys.argv[1:]
    parts = []
    for want, path in enumerate(sorted(pathlib.Path(n) for n in names), start=1):
        match = re.fullmatch(r"(\d{4})_([a-z0-9_]+)\.sql", path.name)
        if not match or int(match.group(1)) != want:
            sys.exit(f"{path}: expected {want:04d}_name.sql")
        parts.append('\t{ %d, "%s",\n%s },\n' % (want, match.group(2), c_string(path.read_bytes())))
    text = HEAD + "".join(parts) + "};\n"
    text += "const size_t sql_migrations_count = sizeof sql_migrations / sizeof sql_migrations[0];\n"
    pathlib.Path(target).write_text(text)


main()
