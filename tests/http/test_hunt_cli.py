"""weir hunt: rules over folders without a server, and over what is stored."""

import csv
import fcntl
import hashlib
import io
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

import pytest

from weirtest import write_files

FOUND, NONE, FAILED = 0, 1, 2
NEEDLE = "rule needle { strings: $a = \"needle\" condition: $a }\n"
LARGE = b"needle" + bytes(9 << 20)  # goes to the scanner alone
ENDLESS = "rule endless { condition: filesize == 7 and for all i in (0..1000000000000) : (i >= 0) }\n"




def heavy_rules():
    """Rules that take the compiler ten seconds and more."""
    patterns = (f"$s{i} = /(q{i}[a-z]{{1,{40 + i % 20}}}|[0-9]{{2,60}}x){{2,12}}end{i}/ "
                f"$t{i} = /abc{i}([a-f]{{3,70}}|\\d{{1,90}}){{1,15}}zz/" for i in range(8900))
    text = [f"rule heavy{rule} {{ strings: {' '.join(next(patterns) for _ in range(36))} condition: any of them }}"
            for rule in range(240)]
    return "\n".join(text)


@pytest.fixture
def hunt(weir_bin, tmp_path):
    """hunt(rules, *args): the finished `weir hunt --dir` of these rules."""

    def run(rules, *args, stdin=None):
        file = tmp_path / "rules.yar"
        file.write_text(rules)
        words = [weir_bin, "hunt", "--dir", *args[:1], file, *args[1:]]
        return subprocess.run(words, capture_output=True, text=True, timeout=120, env={}, input=stdin)

    return run


@pytest.fixture
def tree(tmp_path):
    """tree(files): a folder of them; names may hold '/'."""

    def make(files, name="tree"):
        return write_files(tmp_path / name, files)

    return make


def lines(done):
    return sorted(done.stdout.splitlines())


def summary(done):
    """(files, matches, files that match, errors)"""
    found = re.findall(r"(\d+) files \([^)]*\) in [\d.]+ s: (\d+) matches in (\d+) files, (\d+) errors", done.stderr)
    assert len(found) == 1, done.stderr
    return tuple(int(n) for n in found[0])


# ---- Folders ----


def test_what_matches_is_printed(hunt, tree):
    folder = tree({"a": b"a needle", "b/c": b"hay", "b/d": b"needle needle", "empty": b""})
    done = hunt(NEEDLE + "rule empty { condition: filesize == 0 }", folder)
    assert done.returncode == FOUND, done.stderr
    assert lines(done) == [f"empty {folder}/empty", f"needle {folder}/a", f"needle {folder}/b/d"]
    assert summary(done) == (4, 3, 3, 0)


def test_nothing_matches(hunt, tree):
    done = hunt(NEEDLE, tree({"a": b"hay"}))
    assert (done.returncode, done.stdout) == (NONE, "")
    assert summary(done) == (1, 0, 0, 0)


def test_several_paths_and_single_files(hunt, tree):
    folder = tree({"a": b"needle", "b/c": b"needle", "d": b"needle"})
    done = hunt(NEEDLE, folder / "a", folder / "b")
    assert done.returncode == FOUND
    assert lines(done) == [f"needle {folder}/a", f"needle {folder}/b/c"]


def test_rules_from_standard_input(weir_bin, tree):
    folder = tree({"a": b"needle"})
    done = subprocess.run([weir_bin, "hunt", "--dir", folder, "-"], input=NEEDLE, capture_output=True, text=True,
                          timeout=60)
    assert (done.returncode, done.stdout) == (FOUND, f"needle {folder}/a\n")


def test_every_file_is_scanned_once(hunt, tree):
    """Small and large ones, more than any batch holds; against a search of our own."""
    files = {f"{i % 13}/{i:05}": b"%d " % i * (i % 50) + (b"needle" if i % 7 == 0 else b"") for i in range(3000)}
    files |= {f"large/{i}": os.urandom(3 << 20) + (b"needle" if i % 2 else b"") for i in range(8)}
    folder = tree(files)
    done = hunt(NEEDLE, folder)
    wanted = sorted(f"needle {folder}/{name}" for name, content in files.items() if b"needle" in content)
    assert lines(done) == wanted
    assert summary(done) == (len(files), len(wanted), len(wanted), 0)


def test_json(hunt, tree):
    content = b"a needle and a needle"
    folder = tree({"a \"quoted\" name": content})
    rules = 'rule r : one two { meta: k = "v" n = 3 strings: $a = "needle" condition: $a } rule s { condition: true }'
    done = hunt(rules, folder, "--json")
    assert done.returncode == FOUND
    known = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "path": f"{folder}/a \"quoted\" name"}
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {"rule": "r", "tags": ["one", "two"], "meta": [["k", "v"], ["n", 3]], **known,
         "matches": [{"offset": 2, "length": 6}, {"offset": 15, "length": 6}], "more_matches": False},
        {"rule": "s", "tags": [], "meta": [], **known, "matches": [], "more_matches": False}]


def test_json_says_when_there_are_more_matches(hunt, tree):
    done = hunt(NEEDLE, tree({"a": b"needle" * 100}), "--json")
    row = json.loads(done.stdout)
    assert row["more_matches"] and [m["offset"] for m in row["matches"]] == [6 * i for i in range(11)]


def test_csv(hunt, tree):
    folder = tree({"a,\"b": b"needle"})
    done = hunt(NEEDLE, folder, "--csv")
    rows = list(csv.reader(io.StringIO(done.stdout)))
    assert rows == [["rule", "sha256", "size", "path"],
                    ["needle", hashlib.sha256(b"needle").hexdigest(), "6", f"{folder}/a,\"b"]]


def test_hashes(hunt, tree):
    done = hunt(NEEDLE + "rule every { condition: true }", tree({"a": b"needle", "b": b"hay"}), "--hashes")
    assert lines(done) == sorted(hashlib.sha256(c).hexdigest() for c in (b"needle", b"hay"))
    # Once, however many files have those bytes.
    files = {f"{i}": b"needle %d" % (i % 3000) for i in range(6000)}
    done = hunt(NEEDLE, tree(files, "twice"), "--hashes")
    assert lines(done) == sorted({hashlib.sha256(c).hexdigest() for c in files.values()})
    assert summary(done) == (6000, 6000, 6000, 0)


def test_csv_on_a_terminal_harms_none(weir_bin, tree, tmp_path):
    folder = tree({"a\x1b[31m": b"needle"})
    (tmp_path / "r").write_text(NEEDLE)
    ours, theirs = pty.openpty()
    done = subprocess.run([weir_bin, "hunt", "--dir", folder, tmp_path / "r", "--csv"], stdout=theirs, stderr=subprocess.PIPE,
                          text=True, timeout=60)
    os.close(theirs)
    said = os.read(ours, 65536).decode()
    os.close(ours)
    assert done.returncode == FOUND and f'{folder}/a\\x1b[31m"' in said and "\x1b" not in said


def test_names_that_would_harm_a_terminal(hunt, tree):
    folder = tree({"a\x1b[31m\nb": b"needle"})
    done = hunt(NEEDLE, folder)
    assert done.stdout == f"needle {folder}/a\\x1b[31m\\x0ab\n"


def test_rules_may_ask_what_a_file_is(hunt, tree):
    content = b"\x7fELF" + bytes(60)
    folder = tree({"one": content, "two": b"two"})
    rules = f"""import "vt"
        rule named {{ condition: file_name == "one" }}
        rule hashed {{ condition: sha256 == "{hashlib.sha256(content).hexdigest()}" and
          md5 == "{hashlib.md5(content).hexdigest()}" and sha1 == "{hashlib.sha1(content).hexdigest()}" }}
        rule typed {{ condition: file_type contains "elf" and tags contains "elf" }}
        rule known {{ condition: vt.metadata.file_size == 64 and vt.metadata.file_name == "one" }}
        rule sent {{ condition: submissions > 0 or new_file }}"""
    done = hunt(rules, folder)
    assert lines(done) == [f"{rule} {folder}/one" for rule in ("hashed", "known", "named", "typed")]
    assert summary(done) == (2, 4, 1, 0)


# ---- What cannot be looked at ----


def test_rules_that_do_not_compile(hunt, tree):
    done = hunt("rule a {\n  condition: thing }\n", tree({"a": b""}))
    assert (done.returncode, done.stdout) == (FAILED, "")
    assert re.search(r"error\[E009\]: unknown identifier `thing`\n --> \S+/rules.yar:2:14\n", done.stderr)
    assert "files" not in done.stderr


def test_warnings_are_shown_and_do_no_harm(hunt, tree):
    done = hunt("rule a { strings: $a = \"ab\" condition: $a or true }", tree({"a": b""}))
    assert done.returncode == FOUND
    assert "warning[" in done.stderr and "more warnings" not in done.stderr
    many = "".join(f"rule r{i} {{ condition: true }}\n" for i in range(30))
    done = hunt(many, tree({"a": b""}))
    assert done.returncode == FOUND
    assert (done.stderr.count("warning["), done.stderr.count("and more warnings (20 are shown)")) == (20, 1)
    # What is refused is not warned of.
    done = hunt(many + "rule last { condition: thing }", tree({"a": b""}))
    assert done.returncode == FAILED
    assert "warning[" not in done.stderr and ".yar:31:24" in done.stderr


@pytest.mark.parametrize("rules, text", [
    ("// rule a { condition: true }\n", "no rules in it"), (" \n" * 1000, "no rules in it"),
    ("private rule a { condition: true }", "all rules in it are private"), ("import \"pe\"", "no rules in it")])
def test_rules_that_are_none_are_no_answer(hunt, tree, rules, text):
    done = hunt(rules, tree({"a": b"needle"}))
    assert (done.returncode, done.stdout) == (FAILED, "")
    assert f"rules.yar': {text}" in done.stderr


def test_a_byte_order_mark_is_no_syntax_error(weir_bin, tree, tmp_path):
    folder = tree({"a": b"needle"})
    (tmp_path / "r").write_bytes(b"\xef\xbb\xbf" + NEEDLE.encode())
    done = subprocess.run([weir_bin, "hunt", "--dir", folder, tmp_path / "r"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (FOUND, f"needle {folder}/a\n"), done.stderr


# ---- Several files of rules ----


def hunt_folder(weir_bin, folder, *words, cwd):
    return subprocess.run([weir_bin, "hunt", "--dir", folder, *words], cwd=cwd, capture_output=True, text=True, timeout=60)


def test_several_files_of_rules(weir_bin, tree, tmp_path):
    """Each is a source of its own, so rules may have the same name; none is scanned."""
    folder = tree({"a": b"needle", "b": b"rule"})
    other = tree({"c": b"needle"}, "other")
    (tmp_path / "one.yar").write_text(NEEDLE)
    (tmp_path / "two.YARA").write_text('rule two { condition: uint8(0) == 0x72 } private rule needle { condition: false }')
    done = hunt_folder(weir_bin, folder, "one.yar", other, "two.YARA", cwd=tmp_path)
    assert done.returncode == FOUND, done.stderr
    assert lines(done) == sorted([f"needle {folder}/a", f"needle {other}/c", f"two {folder}/b"])
    assert summary(done) == (3, 3, 3, 0)
    # The same file twice is the same rules; what --dir names is scanned, whatever its name.
    done = hunt_folder(weir_bin, "two.YARA", "one.yar", tmp_path / "one.yar", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (FOUND, "needle two.YARA\n"), done.stderr


def test_a_folder_of_rules(weir_bin, tree, tmp_path):
    folder = tree({"a": b"needle"})
    tree({"b/deep.yara": NEEDLE.encode(), "a.yar": b"rule every { condition: true }", "README": b"no rules",
          "c.yar": b"// nothing\n"}, "rules")
    (tmp_path / "rules" / "link.yar").symlink_to(tmp_path / "linked")
    (tmp_path / "linked").write_text("rule linked { condition: true }")
    done = hunt_folder(weir_bin, folder, "rules", cwd=tmp_path)
    assert done.returncode == FOUND, done.stderr
    assert lines(done) == [f"{rule} {folder}/a" for rule in ("every", "linked", "needle")]
    done = hunt_folder(weir_bin, folder, "tree", cwd=tmp_path)
    assert done.returncode == FAILED
    assert "'tree': no file of rules in this folder (*.yar, *.yara)" in done.stderr
    # Rules that cannot be read are not left out.
    (tmp_path / "rules" / "broken.yar").symlink_to("missing")
    done = hunt_folder(weir_bin, folder, "rules", cwd=tmp_path)
    assert done.returncode == FAILED and "'rules/broken.yar' cannot be opened" in done.stderr


def test_an_error_names_its_file(weir_bin, tree, tmp_path):
    folder = tree({"a": b"needle"})
    (tmp_path / "one.yar").write_text(NEEDLE * 1)
    (tmp_path / "two\x1b.yar").write_text("\n\nrule b {\n  condition: thing }")
    done = hunt_folder(weir_bin, folder, "one.yar", "two\x1b.yar", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (FAILED, "")
    assert " --> two\\x1b.yar:4:14\n" in done.stderr and "\n4 |   condition: thing }" in done.stderr


@pytest.mark.parametrize("args, text", [
    ([], "weir hunt takes a file of rules"),
    (["x", "y"], "'y' is no file of rules (*.yar, *.yara) and no folder: weir hunt takes files to scan only with --dir"),
    (["x", "--since", "2999-01-01"], "'x' cannot be opened"),
    (["--dir", "/tmp", "--since", "1d", "x"], "--since does not go with --dir"),
    (["--dir", "/tmp"], "weir hunt takes a file of rules"),
    (["--dir", "/tmp", "--json", "--csv", "x"], "takes one of --json, --csv, --hashes"),
    (["--dir", "/tmp", "missing.yar"], "'missing.yar' cannot be opened: No such file"),
    (["--dir", "/tmp", "/dev/null"], "'/dev/null': no rules in it"),
    (["--dir", "/tmp", "/proc/self/attr"], "'/proc/self/attr': no file of rules in this folder (*.yar, *.yara)"),
    (["--dir", "/tmp", "--every", "x", "y"], "'--every' is a number"),
])
def test_wrong_usage(weir_bin, args, text):
    done = subprocess.run([weir_bin, "hunt", *args], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (FAILED, "")
    assert text in done.stderr


def test_links_devices_and_what_is_missing(hunt, tree, tmp_path):
    folder = tree({"a": b"needle"})
    (folder / "link").symlink_to("a")
    (folder / "loop").symlink_to(folder)
    (folder / "broken").symlink_to("nothing")
    os.mkfifo(folder / "pipe")
    done = hunt(NEEDLE, folder, tmp_path / "missing")
    assert done.returncode == FAILED  # what is missing was not looked at
    assert lines(done) == [f"needle {folder}/a"]
    assert f"skipped: {folder}/pipe: a pipe" in done.stderr
    assert f"error: {tmp_path}/missing: cannot be looked at: No such file or directory" in done.stderr
    assert "3 symbolic links not followed; 1 others skipped" in done.stderr
    assert summary(done) == (1, 1, 1, 1)


def test_files_above_the_limit_are_named(hunt, tree):
    folder = tree({"a": b"needle", "large": b"needle" * 100})
    done = hunt(NEEDLE, folder, "--hunt-bytes-max", "500")
    assert done.returncode == FAILED
    assert lines(done) == [f"needle {folder}/a"]
    assert f"error: {folder}/large: larger than 500 bytes" in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_files_that_may_not_be_read_are_named(hunt, tree):
    folder = tree({"a": b"needle", "secret": b"needle"})
    (folder / "secret").chmod(0)
    done = hunt(NEEDLE, folder)
    assert done.returncode == FAILED
    assert f"error: {folder}/secret: cannot be opened: Permission denied" in done.stderr
    assert lines(done) == [f"needle {folder}/a"]


def test_an_empty_folder_is_no_answer(hunt, tree, tmp_path):
    (tmp_path / "nothing").mkdir()
    done = hunt(NEEDLE, tmp_path / "nothing")
    assert done.returncode == FAILED
    assert "there was no file to scan" in done.stderr


def test_a_file_that_takes_too_long_is_named_and_the_others_are_scanned(hunt, tree):
    files = {f"{i:03}": b"needle" for i in range(100)} | {"050a": b"seven 7", "099a": b"seven 7"}
    folder = tree(files)
    done = hunt(NEEDLE + ENDLESS, folder, "--scan-timeout-ms", "300", "--workers", "2")
    assert done.returncode == FAILED
    assert lines(done) == [f"needle {folder}/{i:03}" for i in range(100)]
    errors = sorted(line for line in done.stderr.splitlines() if "error:" in line)
    assert errors == [f"weir hunt: error: {folder}/{name}: the scanner: took longer than 300 ms"
                      for name in ("050a", "099a")]
    assert summary(done) == (100, 100, 100, 2)


# ---- Ends ----


def begin(weir_bin, rules_file, folder, *args, **options):
    return subprocess.Popen([weir_bin, "hunt", "--dir", folder, rules_file, *args], stdin=subprocess.DEVNULL,
                            **options)


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_hunt_says_what_is_missing(weir_bin, tree, tmp_path, end):
    folder = tree({"0": LARGE} | {f"{i}": b"seven 7" for i in range(1, 60)})
    (tmp_path / "r").write_text(NEEDLE + ENDLESS)
    process = begin(weir_bin, tmp_path / "r", folder, "--workers", "1", stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                    text=True)
    assert process.stdout.readline() == f"needle {folder}/0\n"
    process.send_signal(end)
    out, said = process.communicate(timeout=20)
    assert (process.returncode, out) == (FAILED, "")
    assert re.search(r"1 files \(9.4 MB\) in [\d.]+ s: 1 matches in 1 files, 0 errors.*; interrupted: \d+ files that "
                     r"were found.* not scanned", said), said


def test_an_interrupt_while_rules_compile(weir_bin, tree, tmp_path):
    (tmp_path / "r").write_text(heavy_rules())
    process = begin(weir_bin, tmp_path / "r", tree({"a": b"needle"}), "--every", "0", stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE, text=True)
    assert process.stderr.readline().startswith("weir hunt: compiling the rules, 0:0")
    process.send_signal(signal.SIGINT)
    out, said = process.communicate(timeout=5)
    assert (process.returncode, out) == (FAILED, "")
    assert "interrupted while the rules were compiled" in said


def test_nobody_reads_the_results_any_more(weir_bin, tree, tmp_path):
    folder = tree({f"{i:05}": b"needle" for i in range(5000)})
    (tmp_path / "r").write_text(NEEDLE)
    process = begin(weir_bin, tmp_path / "r", folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline().startswith(f"needle {folder}/")
    process.stdout.close()
    said = process.stderr.read()
    assert process.wait(timeout=20) == FAILED
    assert "Broken pipe" not in said and "weir: " not in said


def test_a_full_disk_is_told(weir_bin, tree, tmp_path):
    folder = tree({"a": b"needle"})
    (tmp_path / "r").write_text(NEEDLE)
    with open("/dev/full", "w") as full:
        done = subprocess.run([weir_bin, "hunt", "--dir", folder, tmp_path / "r"], stdout=full, stderr=subprocess.PIPE,
                              text=True, timeout=60)
    assert done.returncode == FAILED
    assert "cannot write: No space left on device" in done.stderr


def test_lines_of_progress_where_there_is_no_terminal(weir_bin, tree, tmp_path):
    folder = tree({f"{i}": b"seven 7" for i in range(4)})
    (tmp_path / "r").write_text(ENDLESS)
    process = begin(weir_bin, tmp_path / "r", folder, "--every", "1", "--workers", "1", stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE, text=True)
    said = next(line for line in process.stderr if line.startswith("weir hunt: "))
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert re.match(r"weir hunt: 0 of 4 files, 0 B, 0 matches, 0 B/s", said), said


def test_a_bar_on_a_terminal(weir_bin, tree, tmp_path):
    folder = tree({f"{i}": LARGE if i == 0 else b"seven 7" for i in range(40)})
    (tmp_path / "r").write_text(NEEDLE + ENDLESS)
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 90, 0, 0))
    process = begin(weir_bin, tmp_path / "r", folder, "--workers", "1", stdout=subprocess.PIPE, stderr=theirs, text=True)
    os.close(theirs)
    shown = ""
    while "1 of 40 files" not in shown:
        assert select.select([ours], [], [], 20)[0], shown
        shown += os.read(ours, 65536).decode()
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=20)
    os.close(ours)
    assert (process.returncode, out) == (FAILED, f"needle {folder}/0\n")
    drawn = [part.split("\x1b")[0] for part in shown.split("\r") if part.startswith("[")]
    assert re.match(r"\[[#-]{20}\] +\d+% 1 of 40 files, 9.4 MB, 1 matches, ", drawn[-1]), drawn
    assert all(len(part) < 90 for part in drawn)


# ---- What is stored ----


@pytest.fixture(params=["with a server", "without"])
def stored(request, make_server, tree):
    """stored(files, name): a data folder with an administrator and these files, its server running or not."""
    one = make_server()

    def make(files, corpus="main"):
        if one.process is None and not getattr(one, "made", False):
            one.made = True
            one.command("user", "add", "boss", "--role", "admin")
            if request.param == "with a server":
                one.start()
        one.command("ingest", "--corpus", corpus, "--wait", tree(files, f"in-{corpus}"))
        return one

    return make


def retro(server, tmp_path, rules, *args, check=False):
    file = tmp_path / "stored.yar"
    file.write_text(rules)
    return server.command("hunt", file, *args, check=check)


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def test_all_that_is_stored_is_hunted(stored, tmp_path):
    files = {f"{i}": b"number %d" % i + (b" needle" if i % 5 == 0 else b"") for i in range(200)}
    server = stored(files)
    done = retro(server, tmp_path, NEEDLE + "rule other { strings: $a = \"number 7\" condition: $a }")
    assert done.returncode == FOUND, done.stderr
    wanted = [f"needle {sha256(c)}" for c in files.values() if b"needle" in c]
    wanted += [f"other {sha256(c)}" for c in files.values() if b"number 7" in c]
    assert lines(done) == sorted(wanted)
    assert re.search(rf"200 of 200 files .*: {len(wanted)} matches in \d+ files, 0 skipped; .* job 'boss-\d+' finished",
                     done.stderr), done.stderr


def test_a_stored_file_is_told_in_each_form(stored, tmp_path):
    server = stored({"a": b"a needle", "b": b"hay"})
    both = NEEDLE + "rule small { condition: filesize < 10 }"
    rows = [json.loads(line) for line in retro(server, tmp_path, both, "--json").stdout.splitlines()]
    assert sorted((row["rule"], row["sha256"]) for row in rows) == sorted(
        [("needle", sha256(b"a needle")), ("small", sha256(b"a needle")), ("small", sha256(b"hay"))])
    rows = list(csv.reader(io.StringIO(retro(server, tmp_path, both, "--csv").stdout)))
    assert rows[0] == ["rule", "sha256"] and len(rows) == 4
    done = retro(server, tmp_path, both, "--hashes")
    assert lines(done) == sorted([sha256(b"a needle"), sha256(b"hay")])


def test_nothing_stored_matches(stored, tmp_path):
    done = retro(stored({"a": b"hay"}), tmp_path, NEEDLE)
    assert (done.returncode, done.stdout) == (NONE, "")


def test_corpora_and_times(stored, tmp_path):
    stored({"a": b"needle in main"})
    server = stored({"b": b"needle in goodware"}, "goodware")
    assert retro(server, tmp_path, NEEDLE).stdout == f"needle {sha256(b'needle in main')}\n"
    assert retro(server, tmp_path, NEEDLE, "--corpus", "goodware").stdout == f"needle {sha256(b'needle in goodware')}\n"
    assert retro(server, tmp_path, NEEDLE, "--since", "1d").returncode == FOUND
    assert retro(server, tmp_path, NEEDLE, "--until", "2001-01-01").returncode == NONE
    done = retro(server, tmp_path, NEEDLE, "--corpus", "other")
    assert (done.returncode, done.stdout) == (FAILED, "")
    assert "--corpus is main or goodware, not 'other'" in done.stderr
    done = retro(server, tmp_path, NEEDLE, "--since", "soon")
    assert done.returncode == FAILED and "--since" in done.stderr


def test_stored_rules_that_do_not_compile(stored, tmp_path):
    done = retro(stored({"a": b"hay"}), tmp_path, "rule a {\n  condition: thing }\n")
    assert (done.returncode, done.stdout) == (FAILED, "")
    assert re.search(r"error\[E009\]: unknown identifier `thing`\n --> \S+/stored.yar:2:14\n", done.stderr)
    assert "weir: the rules do not compile\n" in done.stderr


def test_stored_rules_in_several_files(stored, tmp_path, tree):
    server = stored({"a": b"needle", "b": b"hay"})
    tree({"1.yar": b"\xef\xbb\xbf" + NEEDLE.encode().rstrip(), "2.yara": b'rule hay { strings: $a = "hay" condition: $a }'}, "rules")
    (tmp_path / "3.yar").write_text("rule small { condition: filesize == 3 }")
    done = server.command("hunt", tmp_path / "rules", tmp_path / "3.yar", check=False)
    assert done.returncode == FOUND, done.stderr
    assert lines(done) == sorted([f"needle {sha256(b'needle')}", f"hay {sha256(b'hay')}", f"small {sha256(b'hay')}"])
    # Places are those of the files.
    (tmp_path / "3.yar").write_text("\n\nrule small {\n  condition: thing }")
    done = server.command("hunt", tmp_path / "rules", tmp_path / "3.yar", check=False)
    assert (done.returncode, done.stdout) == (FAILED, "")
    assert f" --> {tmp_path}/3.yar:4:14\n" in done.stderr and "\n4 |   condition: thing }" in done.stderr
    (tmp_path / "3.yar").write_text("\nrule needle { condition: true }")
    done = server.command("hunt", tmp_path / "rules", tmp_path / "3.yar", check=False)
    assert done.returncode == FAILED
    assert f" --> {tmp_path}/3.yar:2:6\n" in done.stderr
    assert re.search(rf'^1 \|.* rule needle \{{.*    \({tmp_path}/rules/1.yar\)$', done.stderr, re.M), done.stderr


def test_stored_rules_that_are_too_many_or_none(stored, tmp_path):
    server = stored({"a": b"hay"})
    done = retro(server, tmp_path, "// nothing\n")
    assert (done.returncode, done.stdout) == (FAILED, "") and "there is no rule in the ruleset" in done.stderr
    done = retro(server, tmp_path, "".join(f"rule r{i} {{ condition: true }}\n" for i in range(301)))
    assert done.returncode == FAILED
    assert "301 rules, the maximum is 300" in done.stderr and "warning" not in done.stderr
    done = retro(server, tmp_path, "".join(f"rule r{i} {{ condition: true }}\n" for i in range(30)))
    assert done.returncode == FOUND and done.stderr.count("warning[") == 20


def test_times_that_cannot_be_meant(stored, tmp_path):
    server = stored({"a": b"needle"})
    for args, text in ((("--since", "2999-01-01"), "--since is in the future"),
                       (("--since", "1d", "--until", "2w"), "--until is before --since")):
        done = retro(server, tmp_path, NEEDLE, *args)
        assert done.returncode == FAILED and text in done.stderr
    assert retro(server, tmp_path, NEEDLE, "--since", "2026-01-01T00:00:00+02:00").returncode == FOUND


@pytest.mark.parametrize("options", [[], ["--estimate"]])
def test_an_interrupt_while_stored_rules_compile(stored, tmp_path, options):
    server = stored({"a": b"needle"})
    (tmp_path / "r").write_text(heavy_rules())
    process = subprocess.Popen([server.binary, "hunt", tmp_path / "r", "--every", "0", "--data", server.data, *options],
                               env=server.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    assert process.stderr.readline().startswith("weir hunt: compiling ")
    process.send_signal(signal.SIGINT)
    out, said = process.communicate(timeout=5)
    assert (process.returncode, out) == (FAILED, ""), said
    assert said.endswith("weir: interrupted\n")
    # Nothing is left of it: the compiler was ended, and a job that was made all the same is aborted.
    if server.process is not None:
        stopped = time.monotonic()
        server.stop()
        assert time.monotonic() - stopped < 5
    key = server.command("user", "key", "boss").stdout.strip()
    if server.process is None:
        server.start()
    jobs = server.api(key).get("/intelligence/retrohunt_jobs").json()["data"]
    assert [job["attributes"]["status"] for job in jobs if job["attributes"]["status"] == "finished"] == []


def test_jobs_of_the_command_line_count(stored, tmp_path):
    server = stored({"a": b"needle"})
    server.user("ann")
    server.command("user", "quota", "ann", "retrohunt-jobs-per-month=2")
    assert [retro(server, tmp_path, NEEDLE, "--user", "ann").returncode for _ in range(2)] == [FOUND] * 2
    done = retro(server, tmp_path, NEEDLE, "--user", "ann")
    assert (done.returncode, done.stdout) == (FAILED, "")
    assert "the jobs of 'ann' in this month are used up ('weir user quota ann')" in done.stderr
    assert re.search(r"^retrohunt-jobs-per-month +2 of 2 ", server.command("user", "quota", "ann").stdout, re.M)
    assert retro(server, tmp_path, NEEDLE).returncode == FOUND


def test_jobs_belong_to_who_may_have_them(stored, tmp_path):
    server = stored({"a": b"needle"})
    server.user("ann")
    server.command("user", "disable", "ann")
    server.user("vic", "viewer")
    for name, text in (("ann", "the account 'ann' is disabled"), ("vic", "'vic' is a viewer")):
        done = retro(server, tmp_path, NEEDLE, "--user", name)
        assert (done.returncode, done.stdout) == (FAILED, "") and text in done.stderr


def test_a_server_that_dies_leaves_a_job(make_server, tmp_path, tree):
    server = make_server()
    server.command("user", "add", "boss", "--role", "admin")
    server.command("ingest", tree({f"{i}": b"seven%02d" % i for i in range(40)}))
    server.start()
    (tmp_path / "r").write_text(ENDLESS)
    process = subprocess.Popen([server.binary, "hunt", tmp_path / "r", "--every", "0", "--data", server.data],
                               env=server.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    assert any(re.match(r"weir hunt: \d+ of 40 files, ", line) for line in process.stderr)
    server.kill()
    _, said = process.communicate(timeout=20)
    assert process.returncode == FAILED
    assert re.search(r"weir: .*job 'boss-\d+' goes on when it starts again\n", said), said


def test_the_job_is_its_owners(stored, tmp_path):
    server = stored({"a": b"needle"})
    key = server.user("other")
    assert retro(server, tmp_path, NEEDLE, "--user", "other").returncode == FOUND
    if server.process is None:
        server.start()
    jobs = server.api(key).get("/intelligence/retrohunt_jobs").json()["data"]
    assert [(job["attributes"]["status"], job["attributes"]["num_matches"]) for job in jobs] == [("finished", 1)]
    done = retro(server, tmp_path, NEEDLE, "--user", "nobody")
    assert done.returncode == FAILED and "nobody" in done.stderr


def test_a_folder_without_accounts_or_without_anything(make_server, tmp_path, tree):
    server = make_server()
    done = retro(server, tmp_path, NEEDLE)
    assert done.returncode == FAILED and "there is no data folder at" in done.stderr
    server.command("ingest", tree({"a": b"needle"}))
    done = retro(server, tmp_path, NEEDLE)
    assert done.returncode == FAILED and "weir user add NAME --role admin" in done.stderr


def test_files_that_were_not_scanned_are_named(make_server, tmp_path, tree):
    server = make_server("--hunt-bytes-max", "500")
    server.command("user", "add", "boss", "--role", "admin")
    server.command("ingest", tree({"a": b"needle", "large": b"needle" * 100}))
    done = retro(server, tmp_path, NEEDLE, "--hunt-bytes-max", "500")
    assert done.returncode == FOUND  # a job is complete without what is above the server's limit
    assert lines(done) == [f"needle {sha256(b'needle')}"]
    assert f"skipped: {sha256(b'needle' * 100)}: " in done.stderr and ", 1 skipped;" in done.stderr
    # Many of them are one line.
    server.command("ingest", tree({f"{i}": b"needle" * 100 + b"%d" % i for i in range(5)}, "large"))
    done = retro(server, tmp_path, NEEDLE, "--hunt-bytes-max", "500")
    assert done.returncode == FOUND
    assert done.stderr.count("skipped:") == 1
    assert f"skipped: 6 files that are too large, as {sha256(b'needle' * 100)}: the file has 600 bytes" in done.stderr


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_job_is_aborted(stored, tmp_path, end):
    server = stored({f"{i}": b"seven%02d" % i for i in range(40)})
    (tmp_path / "r").write_text(ENDLESS)
    process = subprocess.Popen([server.binary, "hunt", tmp_path / "r", "--every", "0", "--data", server.data],
                               env=server.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    assert any(re.match(r"weir hunt: \d+ of 40 files, ", line) for line in process.stderr)
    process.send_signal(end)
    out, said = process.communicate(timeout=20)
    assert (process.returncode, out) == (FAILED, "")
    assert re.search(r"job 'boss-\d+' aborted\n", said), said
    key = server.command("user", "key", "boss").stdout.strip()
    if server.process is None:
        server.start()
    jobs = server.api(key).get("/intelligence/retrohunt_jobs").json()["data"]
    assert [job["attributes"]["status"] for job in jobs] == ["aborted"]


def test_a_job_nobody_reads_any_more(stored, tmp_path):
    server = stored({f"{i}": b"needle %d" % i for i in range(2000)})
    (tmp_path / "r").write_text(NEEDLE)
    process = subprocess.Popen([server.binary, "hunt", tmp_path / "r", "--data", server.data], env=server.env,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline().startswith("needle ")
    process.stdout.close()
    process.stderr.read()
    assert process.wait(timeout=30) == FAILED


def test_what_a_hunt_would_cost(stored, tmp_path):
    server = stored({f"{i}": b"number %d" % i + (b" needle" if i == 7 else b"") for i in range(50)})
    rules = NEEDLE + "rule slow { condition: math.entropy(0, filesize) > 9 }"
    done = retro(server, tmp_path, "import \"math\" " + rules, "--estimate", "--json")
    assert done.returncode == FOUND, done.stderr
    known = json.loads(done.stdout)
    assert (known["total_files"], known["candidate_files"]) == (50, 50)
    assert [(rule["name"], rule["narrows"]) for rule in known["rules"]] == [("needle", True), ("slow", False)]
    done = retro(server, tmp_path, "import \"math\" " + rules, "--estimate")
    assert done.returncode == FOUND
    assert re.search(r"^ +50 files +\S+ K?B  of 50 files, .*, are to be read: about [\d.]+ s$", done.stdout, re.M), done.stdout
    assert re.search(r"^ +50 files .* slow .*\(the condition asks for nothing that is indexed\)$", done.stdout, re.M)
    assert re.search(r"^ +\d+ files .*     \$a", done.stdout, re.M), done.stdout
    done = retro(server, tmp_path, NEEDLE, "--estimate", "--csv")
    assert done.returncode == FAILED and "an estimate is text" in done.stderr
    assert retro(server, tmp_path, "rule", "--estimate").returncode == FAILED
