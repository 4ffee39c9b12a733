"""What the documents say exists, exists: files, headings, make targets, commands of the program."""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


def prose_and_code(page):
    """The page's text without fenced blocks, and the lines of its shell blocks."""
    prose, code, fence = [], [], None
    for line in page.read_text().splitlines():
        mark = re.match(r"\s*```(\w*)", line)
        if mark:
            fence = mark.group(1) or "text" if fence is None else None
        elif fence is None:
            prose.append(line)
        elif fence in ("sh", "bash", "console"):
            code.append(line)
    return "\n".join(prose), code


def anchors(page):
    """The names that headings get: lower case, words joined by dashes."""
    prose, _ = prose_and_code(page)
    found = re.findall(r"^#+ +(.*)$", prose, re.M)
    return {re.sub(r"[^\w\- ]", "", h.replace("`", "").lower()).replace(" ", "-") for h in found}


def each_page(test):
    return pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))(test)


@each_page
def test_links_lead_somewhere(page):
    prose, _ = prose_and_code(page)
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


@each_page
def test_make_targets_exist(page):
    targets = set(re.findall(r"^([a-z%-]+):", (ROOT / "Makefile").read_text(), re.M))
    text = page.read_text()
    named = set(re.findall(r"`make ([a-z][a-z-]*)", text)) | set(re.findall(r"^(?:\$ )?make ([a-z][a-z-]*)", text, re.M))
    assert {t for t in named if t not in targets and not t.startswith("bench-")} == set()


@each_page
def test_presets_exist(page):
    presets = set(re.findall(r'"name": "([a-z]+)"', (ROOT / "CMakePresets.json").read_text()))
    assert set(re.findall(r"--preset ([a-z]+)", page.read_text())) <= presets


@each_page
def test_commands_of_the_program_exist(page):
    """Every `weir NAME` in a shell block is one that `weir help` lists."""
    _, code = prose_and_code(page)
    named = {m for line in code for m in re.findall(r"(?:^|[ /|(])weir ([a-z][a-z-]*)\b", line.split(" #")[0])}
    if named:
        usage = subprocess.run([os.environ["WEIR_BIN"], "help"], capture_output=True, text=True, check=True).stdout
        assert {n for n in named if not re.search(rf"\bweir {n}\b|^ +{n}\b", usage, re.M)} == set()


def test_every_metric_is_explained_to_operators():
    names = re.findall(r"^METRIC\((\w+)", (ROOT / "src/base/include/base/metrics.def").read_text(), re.M)
    page = (ROOT / "docs" / "operate.md").read_text()
    assert [name for name in names if f"`{name}`" not in page] == []


@each_page
def test_nothing_is_left_open(page):
    assert not re.findall(r"\b(?:TODO|FIXME|XXX|TBD)\b", page.read_text())
