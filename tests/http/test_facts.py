"""Facts: what a report says of a sample's content, and what rules may ask of it."""

import glob
import hashlib
import os
import random
import sqlite3
import sys
from pathlib import Path

import pytest

import crafted
import facts_oracle
from weirtest import marker, wait_for


def report(api, data, name="sample.bin"):
    api.hunt(data, name)
    return api.get(f"/files/{hashlib.sha256(data).hexdigest()}").json()["data"]["attributes"]


# ---- Made byte by byte ----


def test_a_small_pe(api):
    tail = marker().encode()
    known = report(api, crafted.pe_with_pdb(overlay=tail))
    info = known["pe_info"]
    assert (info["machine_type"], info["entry_point"], info["timestamp"]) == (0x14C, 0x1000, 0x5ECF4B94)
    assert known["creation_date"] == 0x5ECF4B94
    assert [s["name"] for s in info["sections"]] == [".text"]
    assert info["sections"][0]["flags"] == "rx" and info["sections"][0]["virtual_address"] == 0x1000
    assert info["debug"] == [{
        "type": 2, "type_str": "IMAGE_DEBUG_TYPE_CODEVIEW", "timestamp": "Thu May 28 05:26:44 2020",
        "offset": 0x41C, "size": 35,
        "codeview": {"signature": "RSDS", "guid": str(crafted.PDB_GUID), "age": 7, "name": "E:\\987.pdb"},
    }]
    assert info["overlay"]["offset"] == 0x600 and info["overlay"]["md5"] == hashlib.md5(tail).hexdigest()
    assert info["overlay"]["filetype"].startswith("ASCII text")
    assert known["type_tag"] == "peexe" and known["tags"] == ["peexe", "overlay"]
    exif = known["exiftool"]
    assert (exif["PEType"], exif["EntryPoint"], exif["Subsystem"]) == ("PE32", "0x1000", "Windows command line")
    assert exif["TimeStamp"] == "2020:05:28 05:26:44+00:00"


def test_a_wide_native_pe(api):
    known = report(api, crafted.pe(wide=True, subsystem=1) + b"\0")
    assert known["tags"] == ["peexe", "64bits", "native", "overlay"]
    assert known["exiftool"]["PEType"] == "PE32+" and known["exiftool"]["MachineType"] == "AMD AMD64"


def test_an_unsigned_pe_has_the_hash_a_signature_would_be_made_over(api):
    data = bytearray(crafted.pe())
    known = report(api, bytes(data))
    # All but the checksum (offset 64 of the optional header) and the certificate entry.
    start = 64 + 24
    bare = bytes(data[:start + 64] + data[start + 68:start + 96 + 32] + data[start + 96 + 40:])
    assert known["authentihash"] == hashlib.sha256(bare).hexdigest()
    data[start + 64] ^= 0xFF
    assert report(api, bytes(data))["authentihash"] == known["authentihash"]


def test_resources_icon_and_version(api):
    texts = {"CompanyName": "Example “Ltd”", "OriginalFilename": "tool.exe", "ProductName": "A tool",
             "FileDescription": marker(), "LegalCopyright": "nobody", "Assembly Version": "1.2.3.4"}
    data = crafted.pe_with_resources(texts)
    known = report(api, data)
    info = known["pe_info"]
    assert info["resource_types"] == {"RT_GROUP_ICON": 1, "RT_ICON": 1, "RT_VERSION": 1}
    assert info["resource_langs"] == {"ENGLISH US": 2, "NEUTRAL": 1}
    icon = next(r for r in info["resource_details"] if r["type"] == "RT_ICON")
    assert icon["sha256"] == hashlib.sha256(crafted.ICON).hexdigest()
    assert known["main_icon"]["raw_md5"] == hashlib.md5(crafted.ICON).hexdigest()
    assert known["signature_info"] == {
        "product": "A tool", "description": texts["FileDescription"], "original name": "tool.exe", "copyright": "nobody",
    }
    exif = known["exiftool"]
    assert exif["OriginalFileName"] == "tool.exe" and exif["CompanyName"] == "Example “Ltd”"
    assert exif["AssemblyVersion"] == "1.2.3.4"
    assert exif["FileVersionNumber"] == "1.2.3.4" and exif["ProductVersionNumber"] == "5.6.7.8"
    assert (exif["FileOS"], exif["ObjectFileType"], exif["FileFlags"]) == (
        "Windows NT 32-bit", "Executable application", "Debug")


def test_a_small_assembly(api):
    known = report(api, crafted.dotnet())
    assembly = known["dot_net_assembly"]
    assert assembly["clr_version"] == "v4.0.30319" and assembly["entry_point_token"] == 0x06000001
    assert assembly["assembly_flags_txt"] == "COMIMAGE_FLAGS_ILONLY, COMIMAGE_FLAGS_32BITREQUIRED"
    assert set(assembly["streams"]) == {"#~", "#Strings", "#GUID"}
    assert assembly["streams"]["#GUID"]["md5"] == hashlib.md5(crafted.MVID.bytes_le).hexdigest()
    assert (assembly["tables_present"], assembly["tables_present_map"], assembly["tables_rows_map"]) == (1, "1", "1")
    assert known["dot_net_guids"] == {"mvid": str(crafted.MVID)}
    assert "assembly" in known["tags"]


def test_a_shell_link(api):
    arguments = f"/c echo {marker()}"
    known = report(api, crafted.lnk(arguments))
    info = known["lnk_info"]
    assert (info["relative_path"], info["cmd_line_args"]) == ("..\\cmd.exe", arguments)
    assert (info["file_size"], info["creation_time"]) == (1234, 1_590_645_204)
    assert known["exiftool"]["CommandLineArguments"] == arguments
    assert known["exiftool"]["CreateDate"] == "2020:05:28 05:53:24+00:00"
    assert (known["type_tag"], known["creation_date"]) == ("lnk", 1_590_645_204)


def test_a_mach_o(api):
    known = report(api, crafted.macho())
    (image,) = known["macho_info"]
    assert image["headers"] == {
        "magic": "0xfeedfacf", "cpu_type": "x86_64", "cpu_subtype": "X86_64_ALL", "num_cmds": 2, "size_cmds": 208,
        "file_type": "demand paged executable file", "flags": ["DYLDLINK", "NOUNDEFS", "PIE", "TWOLEVEL"],
    }
    assert image["commands"] == [{"type": "LC_SEGMENT_64"}, {"type": "LC_LOAD_DYLIB"}]
    assert image["libs"] == ["/usr/lib/libSystem.B.dylib"]
    assert image["segments"] == [{
        "name": "__TEXT", "vmaddr": "0x100000000", "vmsize": "0x1000", "fileoff": "0x0", "filesize": "0x1000",
        "sections": [{"name": "__text", "type": "S_REGULAR",
                      "flags": ["S_ATTR_PURE_INSTRUCTIONS", "S_ATTR_SOME_INSTRUCTIONS"]}],
    }]
    assert known["tags"] == ["macho", "64bits"]


def test_a_text_has_hashes_and_no_more(api):
    data = (marker() + " of what is only text\n").encode() * 40
    known = report(api, data)
    assert known["ssdeep"].count(":") == 2
    assert not {"pe_info", "elf_info", "macho_info", "lnk_info", "exiftool"} & set(known)


def test_lists_have_their_maximum(api):
    data = crafted.macho([f"/lib/{i}.dylib" for i in range(60)])
    assert len(report(api, data)["macho_info"][0]["libs"]) == 60
    many = crafted.lnk("a" * 5000)
    assert len(report(api, many)["lnk_info"]["cmd_line_args"]) == 1024


# ---- Bytes made to confuse ----


def mutations(count, seed):
    random_ = random.Random(seed)
    seeds = [crafted.pe_with_pdb(), crafted.dotnet(), crafted.lnk(), crafted.macho(),
             crafted.pe_with_resources({"CompanyName": "x" * 20}), Path("/bin/true").read_bytes()]
    for i in range(count):
        data = bytearray(seeds[i % len(seeds)])
        for _ in range(random_.choice((1, 3, 10, 40))):
            at = random_.randrange(min(len(data), 0x800))
            data[at:at + 4] = random_.choice((b"\xff\xff\xff\xff", b"\0\0\0\x80", random_.randbytes(4), random_.randbytes(1)))
        if random_.random() < 0.3:
            del data[random_.randrange(len(data)):]
        yield bytes(data) + marker().encode()


def test_mutated_files_are_reported_and_the_server_lives(api):
    seed = 1
    for data in mutations(60, seed):
        answer = api.post("/files", files={"file": ("mutated", data)})
        assert answer.status_code == 200, f"seed {seed}"
        analysis = api.wait_analysis(answer.json()["data"]["id"])
        assert not analysis["not_run"], (seed, analysis)
        # The contract holds the report against the schema.
        assert api.get(f"/files/{hashlib.sha256(data).hexdigest()}").status_code == 200


# ---- What rules see ----


def test_rules_see_the_facts(api):
    data = crafted.pe_with_resources({"CompanyName": f"Evil {marker()}", "OriginalFilename": "tool.exe"})
    known = report(api, data)
    rules = f"""
import "vt"
rule facts {{
    condition:
        vt.metadata.tlsh == "{known["tlsh"]}" and vt.metadata.ssdeep == "{known["ssdeep"]}"
        and ssdeep == "{known["ssdeep"]}" and vt.metadata.main_icon.raw_md5 == "{known["main_icon"]["raw_md5"]}"
        and vt.metadata.exiftool["OriginalFileName"] == "tool.exe"
        and vt.metadata.exiftool["CompanyName"] contains "Evil"
        and for any tag in vt.metadata.tags : (tag == "peexe") and tags contains "peexe"
}}"""
    api.ruleset(rules)
    api.wait_analysis(api.post(f"/files/{known['sha256']}/analyse").json()["data"]["id"])
    found = api.stream(filter=f"entity_id:{known['sha256']}")["data"]
    assert [e["context_attributes"]["hunting_info"]["rule_name"] for e in found] == ["facts"]


def test_the_engine_says_the_same_of_imports_and_symbols(api, exe):
    pe, elf = Path(exe).read_bytes(), Path("/bin/ls").read_bytes()
    known, known_elf = report(api, pe), report(api, elf)
    api.ruleset(f"""
import "vt"
import "pe"
import "elf"
rule pe_too {{ condition: pe.imphash() == vt.metadata.imphash and imphash == "{known["pe_info"]["imphash"]}" }}
rule elf_too {{ condition: elf.telfhash() == "{known_elf["telfhash"]}" and vt.metadata.telfhash == elf.telfhash() }}
""")
    for one in (known, known_elf):
        api.wait_analysis(api.post(f"/files/{one['sha256']}/analyse").json()["data"]["id"])
    names = {e["context_attributes"]["hunting_info"]["rule_name"] for e in api.stream()["data"]}
    assert names == {"pe_too", "elf_too"}


@pytest.fixture(scope="module")
def exe():
    """A signed or unsigned Windows program that comes with pip."""
    import pip._vendor.distlib

    return str(Path(pip._vendor.distlib.__file__).parent / "t64.exe")


# ---- Stored once, refreshed ----


def test_what_was_stored_without_facts_gets_them_when_analysed_again(make_server):
    server = make_server().start()
    api = server.api(server.user("hunter"))
    data = crafted.pe_with_pdb()
    known = report(api, data)
    server.stop()
    with sqlite3.connect(server.data / "weir.db") as db:
        assert db.execute("DELETE FROM file_facts").rowcount == 1
    db.close()
    server.start()
    api = server.api(api.key)
    bare = api.get(f"/files/{known['sha256']}").json()["data"]["attributes"]
    assert "pe_info" not in bare and bare["names"] == known["names"]
    api.wait_analysis(api.post(f"/files/{known['sha256']}/analyse").json()["data"]["id"])
    again = api.get(f"/files/{known['sha256']}").json()["data"]["attributes"]
    assert again["pe_info"] == known["pe_info"] and again["ssdeep"] == known["ssdeep"]


def test_a_new_name_leaves_the_facts(api):
    data = crafted.pe_with_pdb(overlay=marker().encode())
    first = report(api, data, "one.exe")
    second = report(api, data, "two.exe")
    assert second["pe_info"] == first["pe_info"]
    assert sorted(second["names"]) == ["one.exe", "two.exe"] and second["meaningful_name"] == "two.exe"


def test_a_removed_file_takes_its_facts_along(make_server):
    server = make_server().start()
    admin = server.api(server.user("root", role="admin"))
    known = report(admin, crafted.pe())
    assert admin.delete(f"/files/{known['sha256']}").status_code == 200
    server.stop()
    with sqlite3.connect(server.data / "weir.db") as db:
        assert db.execute("SELECT count(*) FROM file_facts").fetchone() == (0,)
    db.close()


# ---- Against other people's programs ----

FILES = int(os.environ.get("WEIR_FACTS_FILES", "60"))
PATTERNS = os.environ.get(
    "WEIR_FACTS_PATHS", f"/usr/bin/*:/usr/lib/x86_64-linux-gnu/*.so*:{sys.prefix}/lib/python*/site-packages/**/*.exe"
)


def real_files():
    """So many different files of the patterns, taken evenly from each, the same each time."""
    groups = []
    for pattern in PATTERNS.split(":"):
        paths = [p for p in sorted(glob.glob(pattern, recursive=True)) if os.path.isfile(p) and not os.path.islink(p)]
        random.Random(1).shuffle(paths)
        groups.append(paths)
    seen, found = set(), []
    while len(found) < FILES and any(groups):
        for paths in groups:
            while paths:
                path = paths.pop()
                if os.path.getsize(path) > 6_000_000 or not os.access(path, os.R_OK):
                    continue
                digest = hashlib.sha256(Path(path).read_bytes()).digest()
                if digest not in seen:
                    seen.add(digest)
                    found.append(path)
                    break
    return found[:FILES]


@pytest.mark.timeout(1800)
def test_reports_agree_with_other_tools(api):
    files = real_files()
    assert len(files) >= min(FILES, 40)
    told = []
    for path in files:
        data = Path(path).read_bytes()
        known = report(api, data, os.path.basename(path))
        told += [f"{path}: {text}" for text in facts_oracle.differences(data, path, known)]
    print(f"{len(files)} files compared")
    assert not told, "\n".join(told)
