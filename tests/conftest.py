"""Selecting tests by the names that tools/check.py prints."""

import re


def pytest_addoption(parser):
    parser.addoption("--only", metavar="REGEX", help="tests whose 'http.file::test' matches")


def pytest_collection_modifyitems(config, items):
    only = config.getoption("--only")
    if not only:
        return
    name = {item: f"{item.path.parent.name}.{item.path.stem}::{item.name}" for item in items}
    config.hook.pytest_deselected(items=[item for item in items if not re.search(only, name[item])])
    items[:] = [item for item in items if re.search(only, name[item])]
