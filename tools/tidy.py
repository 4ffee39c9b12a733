"""Checks what the compiler does not: layers, sizes, headers, white space.

    python3 tools/tidy.py [ROOT]

Prints one line `file:line: finding` each and ends with 1 if there is any;
a long but bearable function is a warning, which does not count.
"""
import os
import re
import sys

# Which layers a layer may include: itself and these, never upwards.
LAYERS = {
    "base": set(),
    "http": {"base"},
    "store": {"base"},
    "index": {"base"},
    "scan": {"base"},
    "service": {"base", "store", "index", "scan"},
    "api": {"base", "http", "store", "index", "scan", "service"},
    "main": {"base", "http", "store", "index", "scan", "service", "api"},
}
# Headers of others that one layer alone may know.
OWNED = {"engine.h": "scan", "sqlite3.h": "store", "microhttpd.h": "http", "archive.h": "scan"}

FILE_LINES_MAX = 700
FUNCTION_LINES_MAX = 110
FUNCTION_LINES_GOOD = 70  # what fits a screen

CHECKED_DIRS = ("src", "tests", "bench", "fuzz", "engine/include", "engine/tests")
TEXT_ENDINGS = (".c", ".h", ".def", ".py", ".sh", ".cmake", ".rs", ".sql", ".ts", ".tsx", ".css")
SKIPPED_DIRS = {".git", "build", "target", "node_modules", "__pycache__", "weir-data"}

INCLUDE = re.compile(r'\s*#\s*include\s*([<"])([^>"]+)[>"]')
SLEEP = re.compile(r"\b(?:sleep|usleep|nanosleep|clock_nanosleep)\s*\(")


class Report:
    def __init__(self):
        self.findings = 0
        self.warnings = 0

    def find(self, path, line, text):
        self.findings += 1
        print(f"{path}:{line}: {text}")

    def warn(self, path, line, text):
        self.warnings += 1
        print(f"{path}:{line}: warning: {text}")


def files_of(root):
    """Every file of the project as a path below root, in a fixed order."""
    for folder, dirs, names in os.walk(root):
        dirs[:] = sorted(d for d in dirs if d not in SKIPPED_DIRS)
        for name in sorted(names):
            yield os.path.relpath(os.path.join(folder, name), root).replace(os.sep, "/")


def layer_of(path):
    """'store' for src/store/db/sqlite.c; None outside src."""
    parts = path.split("/")
    return parts[1] if len(parts) > 2 and parts[0] == "src" else None


def check_includes(report, path, lines):
    layer = layer_of(path)
    if layer is not None and layer not in LAYERS:
        report.find(path, 1, f"folder src/{layer} is not in the layer table of tools/tidy.py")
        return
    for number, line in enumerate(lines, 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        quote, name = match.groups()
        if "../" in name:
            report.find(path, number, f"include '{name}' climbs with ../")
            continue
        if layer is None:
            continue
        owner = OWNED.get(os.path.basename(name))
        if owner is not None and owner != layer:
            report.find(path, number, f"'{name}' is for src/{owner} alone")
        target = name.split("/")[0]
        if "/" in name and target in LAYERS and target != layer:
            if name.endswith("_internal.h"):
                report.find(path, number, f"'{name}' is private to src/{target}")
            elif target not in LAYERS[layer]:
                report.find(path, number, f"src/{layer} must not include '{name}'")
            elif quote == "<":
                report.find(path, number, f'own header: #include "{name}"')


def check_sizes(report, path, lines):
    if len(lines) > FILE_LINES_MAX:
        report.find(path, FILE_LINES_MAX + 1, f"{len(lines)} lines, {FILE_LINES_MAX} at most")
    if not path.endswith(".c"):
        return
    start = None
    for number, line in enumerate(lines, 1):
        if line.startswith("{"):
            start = number
        elif line.startswith("}") and start is not None:
            length = number - start + 1
            if length > FUNCTION_LINES_MAX:
                report.find(path, start, f"function of {length} lines, "
                                         f"{FUNCTION_LINES_MAX} at most")
            elif length > FUNCTION_LINES_GOOD:
                report.warn(path, start, f"function of {length} lines, "
                                         f"{FUNCTION_LINES_GOOD} read well")
            start = None


def check_public_header(report, path, lines):
    """An include guard around all of it and a comment before the first declaration."""
    code = [(n, line) for n, line in enumerate(lines, 1) if line.strip()]
    guard = re.match(r"#ifndef (\w+)$", code[0][1]) if code else None
    name = guard.group(1) if guard else None
    if not name or len(code) < 3 or code[1][1] != f"#define {name}" \
            or not code[-1][1].startswith("#endif"):
        report.find(path, 1, "no include guard around the whole header")
        return
    for number, line in code[2:]:
        if line.lstrip().startswith("/*"):
            return
        if not line.startswith("#") and not re.match(r"struct \w+;$", line):
            report.find(path, number, "no opening comment before the first declaration")
            return
    report.find(path, 1, "no opening comment")


def check_white_space(report, path, text, lines):
    for number, line in enumerate(lines, 1):
        if line != line.rstrip():
            report.find(path, number, "white space at the end of the line")
    if text and not text.endswith("\n"):
        report.find(path, len(lines), "no newline at the end of the file")


def check_file(report, root, path):
    with open(os.path.join(root, path), encoding="utf-8", errors="surrogateescape",
              newline="") as f:
        text = f.read()
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    check_white_space(report, path, text, lines)
    if not path.endswith((".c", ".h", ".def")) or not path.startswith(CHECKED_DIRS):
        return
    check_includes(report, path, lines)
    check_sizes(report, path, lines)
    parts = path.split("/")
    if path.endswith(".h") and (path.startswith("src/") and "include" in parts
                                or path.startswith("engine/include/")):
        check_public_header(report, path, lines)
    if path.startswith("tests/") and path.endswith((".c", ".h")):
        for number, line in enumerate(lines, 1):
            if SLEEP.search(line):
                report.find(path, number, "tests wait for events, they do not sleep")


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), "..")
    report = Report()
    count = 0
    for path in files_of(root):
        if path.endswith(TEXT_ENDINGS) or os.path.basename(path) == "CMakeLists.txt":
            check_file(report, root, path)
            count += 1
    print(f"tidy: {count} files, {report.findings} findings, {report.warnings} warnings")
    return 1 if report.findings or count == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
