"""tools/tidy.py finds each thing it is there for, at its line, and nothing else.

    test_tidy.py TIDY_PY
"""
import os
import subprocess
import sys
import tempfile

tidy = sys.argv[1]


def function(lines):
    return "int f(void)\n{\n" + "\tg();\n" * (lines - 2) + "}\n"


HEADER = "#ifndef X_H\n#define X_H\n#include <stdint.h>\n\n/* What it is for. */\nint f(void);\n#endif\n"

# (path, text, expected findings as "line: part of the text")
ROWS = [
    ("src/base/a.c", '#include "base/str.h"\n#include <stdio.h>\n', []),
    ("src/base/b.c", '#include "store/sql.h"\n', ["1: src/base must not include 'store/sql.h'"]),
    ("src/http/a.c", '#include "base/str.h"\n#include <microhttpd.h>\n#include "http/a.h"\n', []),
    ("src/http/b.c", '#include "base/str.h"\n#include "scan/x.h"\n', ["2: src/http must not"]),
    ("src/http/c.c", "#include <sqlite3.h>\n", ["1: 'sqlite3.h' is for src/store alone"]),
    ("src/store/a.c", '#include "sqlite3.h"\n#  include <base/io.h>\n', ["2: own header"]),
    ("src/store/db/b.c", '#include "service/x.h"\n#include <microhttpd.h>\n',
     ["1: src/store must not", "2: 'microhttpd.h' is for src/http alone"]),
    ("src/scan/a.c", '#include "engine.h"\n', []),
    ("src/service/a.c", '#include "store/x.h"\n#include "scan/x.h"\n#include "base/x.h"\n', []),
    ("src/service/b.c", '#include "http/x.h"\n#include "api/x.h"\n#include "engine.h"\n',
     ["1: src/service must not", "2: src/service must not", "3: 'engine.h' is for src/scan alone"]),
    ("src/api/a.c", '#include "http/x.h"\n#include "service/x.h"\n', []),
    ("src/api/b.c", '#include "main/x.h"\n#include "service/a_internal.h"\n',
     ["1: src/api must not", "2: 'service/a_internal.h' is private to src/service"]),
    ("src/main/a.c", '#include "api/x.h"\n#include "http/x.h"\n', []),
    ("src/base/up.c", '#include "../store/x.h"\n', ["1: include '../store/x.h' climbs"]),
    ("tests/unit/up.c", '\n#include "a/../../x.h"\n', ["2: include 'a/../../x.h' climbs"]),
    ("tests/unit/any.c", '#include "store/x.h"\n#include <sqlite3.h>\n', []),
    ("src/other/a.c", "int x;\n", ["1: folder src/other is not in the layer table"]),
    ("src/base/lines_700.c", "int x;\n" * 700, []),
    ("src/base/lines_701.c", "int x;\n" * 701, ["701: 701 lines, 700 at most"]),
    ("src/base/f_70.c", function(70), []),
    ("src/base/f_71.c", function(71), ["2: warning: function of 71 lines"]),
    ("src/base/f_110.c", "\n" + function(110), ["3: warning: function of 110 lines"]),
    ("src/base/f_111.c", function(3) + function(111), ["6: function of 111 lines, 110 at most"]),
    ("src/base/table.c", "int t[] = {\n" + "\t1,\n" * 300 + "};\n", []),
    ("src/base/include/base/good.h", HEADER, []),
    ("src/base/private_internal.h", "int x;\n", []),
    ("src/base/include/base/noguard.h", "/* What. */\nint f(void);\n", ["1: no include guard"]),
    ("src/base/include/base/guard2.h", HEADER.replace("define X_H", "define Y_H"), ["1: no include guard"]),
    ("src/base/include/base/after.h", HEADER + "int late;\n", ["1: no include guard"]),
    ("src/base/include/base/nocomment.h", HEADER.replace("/* What it is for. */\n", ""),
     ["5: no opening comment before the first declaration"]),
    ("src/base/include/base/empty.h", "", ["1: no include guard"]),
    ("engine/include/engine.h", HEADER.replace("/* What it is for. */", ""), ["6: no opening comment"]),
    ("tests/unit/wait.c", "void f(void)\n{\n\tusleep(3);\n\tsleep (1);\n}\n",
     ["3: tests wait for events", "4: tests wait for events"]),
    ("tests/unit/asleep.c", "void f(void)\n{\n\tis_asleep(1);\n}\n", []),
    ("src/base/naps.c", "void f(void)\n{\n\tsleep(1);\n}\n", []),
    ("tools/space.py", "a = 1\nb = 2 \n\t\n", ["2: white space", "3: white space"]),
    ("CMakeLists.txt", "project(x)\t\n", ["1: white space"]),
    ("tools/crlf.sh", "a\r\n", ["1: white space"]),
    ("tools/no_end.py", "a = 1", ["1: no newline at the end"]),
    ("build/dev/ignored.c", "int x; \n", []),
    ("docs/two_spaces.md", "a line broken by hand  \n", []),
]


def run_in(files):
    with tempfile.TemporaryDirectory() as root:
        for path, text in files:
            os.makedirs(os.path.dirname(os.path.join(root, path)) or root, exist_ok=True)
            with open(os.path.join(root, path), "w", encoding="utf-8", newline="") as f:
                f.write(text)
        done = subprocess.run([sys.executable, tidy, root], capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    assert not done.stderr, done.stderr
    assert lines[-1].startswith("tidy: "), lines
    return done.returncode, lines[:-1]


failures = []
for path, text, wanted in ROWS:
    # A clean file beside it, since a run that checks nothing fails.
    status, found = run_in([(path, text), ("src/base/clean.c", "int x;\n")])
    bad = [w for w in wanted if ": warning: " not in f": {w}"]
    if status != (1 if bad else 0):
        failures.append(f"{path}: status {status}")
    if len(found) != len(wanted) or not all(f.startswith(f"{path}:{w}") for f, w in zip(found, wanted)):
        failures.append(f"{path}: found {found}, not {wanted}")
if run_in([])[0] != 1:
    failures.append("a run that checks nothing passes")
print("\n".join(failures) or f"{len(ROWS)} rows")
sys.exit(1 if failures else 0)
