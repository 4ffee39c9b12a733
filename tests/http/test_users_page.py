"""The commands of docs/users.md, one after the other, as they stand there."""

import re
import shlex
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "users.md"


def commands():
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    lines = [line.split(" #")[0].strip() for block in blocks for line in block.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line]


def test_every_command_of_the_page_works(make_server):
    server = make_server().start()
    server.user("robot")
    ran = commands()
    assert len(ran) >= 20
    for args in ran:
        if args[:3] == ["user", "revoke", "alice"] and len(args) == 4:
            args[3] = server.command("user", "keys", "alice").stdout.splitlines()[1][:8]
        done = server.command(*args, check=False)
        assert done.returncode == 0, (args, done.stderr)
    assert server.command("user", "keys", "alice").stdout.count("revoked") == 3


def test_the_page_names_every_action_scope_and_quota():
    text = PAGE.read_text()
    root = PAGE.parents[1] / "src/service/include/service"
    for name in ("scopes.def", "quotas.def"):
        for word in re.findall(r'^(?:SCOPE|QUOTA)\(\w+, "([^"]+)"', (root / name).read_text(), re.M):
            assert f"`{word}`" in text, word
    for group, action in re.findall(r'^AUDIT\(\w+, "([a-z]+\.)([a-z_]+)"', (root / "audit.def").read_text(), re.M):
        assert re.search(rf"`{re.escape(group)}`.*`{action}`", text), group + action
