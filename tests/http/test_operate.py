"""Operating it: help, manual page, completion, settings files, installation, the unit, the supervisor's socket."""

import os
import re
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest

import weirtest

ROOT = Path(__file__).resolve().parents[2]


def weir(binary, *args, env=None):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("WEIR_")}
    return subprocess.run([binary, *args], env=clean | {"WEIR_CONFIG": ""} | (env or {}), stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=60)


def table(name):
    """The names in a .def file of the command line."""
    return re.findall(r'^[A-Z]+\(\w+, "([a-z-]+)"', (ROOT / "src" / "main" / name).read_text(), re.M)


COMMANDS = table("commands.def")


# ---- Help ----


def test_help_names_everything(weir_bin):
    text = weir(weir_bin, "help").stdout
    assert all(re.search(rf"^  weir {c}\b", text, re.M) for c in COMMANDS)
    assert all(f"  --{o} " in text for o in table("options.def"))
    assert "Status: 0 done, 1 failed" in text


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command(weir_bin, command):
    done = weir(weir_bin, "help", command)
    assert done.returncode == 0 and done.stdout.startswith(f"weir {command}")
    assert done.stdout == weir(weir_bin, command, "--help").stdout
    assert max(map(len, done.stdout.splitlines())) <= 110
    assert "  --config FILE" in done.stdout


def test_help_of_none(weir_bin):
    done = weir(weir_bin, "help", "verfy")
    assert done.returncode == 2 and "there is no command 'verfy'; did you mean 'verify'?" in done.stderr


def test_version(weir_bin):
    assert weir(weir_bin, "--version").stdout == weir(weir_bin, "version").stdout
    assert re.fullmatch(r"weir \d+\.\d+\.\d+\n", weir(weir_bin, "serve", "--version").stdout)


# ---- The manual page and the completion, from the same tables ----


@pytest.fixture
def page(weir_bin, tmp_path):
    path = tmp_path / "weir.1"
    path.write_text(weir(weir_bin, "help", "--man").stdout)
    return path


def test_the_manual_page_has_no_warnings(page):
    man = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-l", page], capture_output=True, text=True, check=True,
                         env=os.environ | {"LC_ALL": "C.UTF-8", "MANWIDTH": "100"})
    assert man.stderr == ""
    lint = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", page], capture_output=True, text=True, check=False)
    assert lint.returncode == 0 and lint.stdout == "", lint.stdout


def test_the_manual_page_names_everything(page):
    text = subprocess.run(["mandoc", "-T", "utf8", page], capture_output=True, text=True, check=True).stdout
    text = re.sub(".\b", "", text)
    for command in COMMANDS:
        assert f"weir {command}" in text
    names = table("options.def") + re.findall(r'^SETTING\(\w+, "([a-z-]+)"', (
        ROOT / "src" / "main" / "include" / "main" / "settings.def").read_text(), re.M)
    assert [n for n in names if f"--{n}" not in text] == []
    for section in ("SYNOPSIS", "COMMANDS", "SETTINGS", "FILES", "EXIT STATUS", "SIGNALS", "EXAMPLES"):
        assert re.search(rf"^{section}$", text, re.M)


@pytest.mark.parametrize("words, expected", [
    (["weir", "ver"], {"verify", "version"}),
    (["weir", "verify", "--re"], {"--reclaim", "--retention-days"}),
    (["weir", "backup", "--ke"], {"--keep"}),
    (["weir", "verify", "--ke"], set()),
    (["weir", "serve", "--log-level", ""], {"error", "warn", "info", "debug"}),
    (["weir", "user", "re"], {"revoke"}),
    (["weir", "user", "add", "x", "--role", "h"], {"hunter"}),
    (["weir", "help", "res"], {"restore"}),
], ids=" ".join)
def test_completion(weir_bin, tmp_path, words, expected):
    (tmp_path / "weir").write_text(weir(weir_bin, "help", "--bash").stdout)
    script = ('. ./weir; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _weir; '
              'for one in "${COMPREPLY[@]}"; do echo "$one"; done')
    done = subprocess.run(["bash", "-euc", script, "bash", *words], cwd=tmp_path, capture_output=True, text=True,
                          check=False)
    assert done.stderr == ""
    found = set(done.stdout.split())
    assert expected <= found
    assert all(f.startswith(words[-1]) for f in found) and bool(found) == bool(expected)


# ---- Settings files ----


@pytest.mark.parametrize("text, said, status", [
    ("listen = \"0.0.0.0:443\"\nretention-days = 90\n", "fine", 0),
    ("", "fine", 0),
    ("listen = \"localhost:80\"\n", "'listen' is a numeric address and a port", 1),
    ("retention-days = 0\n", ":1: 'retention-days' is a number of days from 1 to 36500, not '0'", 1),
    ("# a comment\nretention_day = 9\n", ":2: there is no setting 'retention_day'; did you mean 'retention-days'?", 1),
    ("log-level = loud\n", ":1:", 1),
], ids=repr)
def test_a_settings_file_is_checked(weir_bin, tmp_path, text, said, status):
    file = tmp_path / "weir.toml"
    file.write_text(text)
    done = weir(weir_bin, "config", "--check", file)
    assert done.returncode == status and said in done.stdout + done.stderr
    assert str(file) in done.stdout + done.stderr or "listen" in said


def test_check_wants_one_file(weir_bin):
    assert weir(weir_bin, "config", "--check").returncode == 2
    assert weir(weir_bin, "config", "a", "b").returncode == 2
    done = weir(weir_bin, "config", "--check", "/nowhere")
    assert done.returncode == 1 and "/nowhere" in done.stderr


# ---- Installed ----


@pytest.fixture(scope="module")
def installed(weir_bin, tmp_path_factory):
    """A staged installation of the build that is tested, below DESTDIR with the prefix /usr."""
    build = weir_bin.parent
    while not (build / "cmake_install.cmake").exists():
        if build == build.parent:
            pytest.skip("the program is not in a build folder")
        build = build.parent
    if not (build / "packaging" / "weir.1").exists():
        subprocess.run(["cmake", "--build", build, "--target", "packaging"], check=True, capture_output=True)
    stage = tmp_path_factory.mktemp("stage")
    subprocess.run(["cmake", "--install", build, "--prefix", "/usr"], check=True, capture_output=True,
                   env=os.environ | {"DESTDIR": str(stage)})
    return stage


def test_what_is_installed(installed):
    for path in ("bin/weir", "share/man/man1/weir.1", "share/bash-completion/completions/weir",
                 "lib/systemd/system/weir.service", "lib/sysusers.d/weir.conf", "share/doc/weir/README.md",
                 "share/doc/weir/examples/weir.toml"):
        assert (installed / "usr" / path).is_file(), path
    assert os.access(installed / "usr/bin/weir", os.X_OK)
    done = weir(installed / "usr/bin/weir", "config", "--check", installed / "usr/share/doc/weir/examples/weir.toml")
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze")
def test_the_unit_is_sound_and_hardened(installed, tmp_path):
    unit = installed / "usr/lib/systemd/system/weir.service"
    text = unit.read_text()
    assert "ExecStart=/usr/bin/weir serve\n" in text
    # The program at a place where it is, and no page to be looked up.
    local = tmp_path / "weir.service"
    local.write_text(text.replace("/usr/bin/weir", str(installed / "usr/bin/weir")).replace("man:weir(1)", ""))
    verified = subprocess.run(["systemd-analyze", "verify", "--man=no", local], capture_output=True, text=True,
                              check=False)
    assert [line for line in verified.stderr.splitlines() if "weir" in line] == []
    score = subprocess.run(["systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=20", local],
                           capture_output=True, text=True, check=False)
    assert score.returncode == 0, score.stdout[-300:]  # an exposure of 2.0 of 10 at most


# ---- The supervisor ----


def test_the_supervisor_is_told(make_server, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(str(tmp_path / "notify"))
        told.settimeout(30)
        one = make_server(env={"NOTIFY_SOCKET": str(tmp_path / "notify")})
        one.start()
        assert told.recv(100) == b"READY=1"
        one.process.send_signal(signal.SIGHUP)
        assert re.fullmatch(rb"RELOADING=1\nMONOTONIC_USEC=\d+", told.recv(100))
        assert told.recv(100) == b"READY=1"
        one.stop()
        assert told.recv(100) == b"STOPPING=1"


def test_a_supervisor_that_is_not_there_is_no_harm(make_server, tmp_path):
    for path in (tmp_path / "nowhere", "relative", "@" + "x" * 200, ""):
        one = make_server(name=f"weir-{len(str(path))}", env={"NOTIFY_SOCKET": str(path)})
        one.start()
        one.stop()


def test_ready_comes_when_it_serves(make_server):
    """In the abstract name space, as systemd may choose."""
    name = "\0weir-test-" + weirtest.marker()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(name)
        told.settimeout(30)
        one = make_server(env={"NOTIFY_SOCKET": "@" + name[1:]})
        one.port = weirtest.free_port()
        with (one.folder / "server.log").open("ab") as log:
            one.process = subprocess.Popen(
                [one.binary, "serve", "--data", one.data, "--listen", f"127.0.0.1:{one.port}"], env=one.env,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log, start_new_session=True)
        assert told.recv(100) == b"READY=1"
        assert one.is_ready()
