//! .NET: dot_net_assembly and dot_net_guids, beside the PE they are in.

use yara_x::mods::dotnet::{Dotnet, Version};
use yara_x::mods::pe::PE;

use super::out::{lossy, Out, LIST_MAX};
use super::pe::{guid_at, offset_of};
use super::read::Reader;
use super::stats::{md5_of, stats};
use super::Facts;

const DIRECTORY_CLI: usize = 14;
const METADATA_MAGIC: u32 = 0x424a_5342;
const STREAMS_MAX: usize = 32;

/// The CLI header (ECMA-335, II.25.3.3).
struct Cli {
    metadata_rva: u32,
    flags: u32,
    entry: u32,
    resources_rva: u32,
    strong_name_rva: u32,
}

/// The metadata root (II.24.2.1).
struct Root {
    version: String,
    streams: Vec<Stream>,
}

struct Stream {
    name: String,
    offset: usize,
    size: usize,
}

/// The head of the `#~` stream (II.24.2.6).
struct Tables {
    present: u64,
    rows: Vec<u32>,
}

pub fn extract(facts: &mut Facts, pe: &PE) {
    let Some(cli) = cli_header(facts.data, pe) else {
        return;
    };
    let Some(at) = offset_of(pe, cli.metadata_rva) else {
        return;
    };
    let Some(root) = metadata_root(facts.data, at) else {
        return;
    };
    let dotnet = yara_x::mods::invoke::<Dotnet>(facts.data).filter(|d| d.is_dotnet());
    let parts: Vec<_> = root
        .streams
        .iter()
        .map(|stream| facts.part(stream.offset, stream.size))
        .collect();
    let find = |name: &str| {
        let i = root.streams.iter().position(|s| s.name == name)?;
        parts[i]
    };
    let tables = find("#~").or_else(|| find("#-"));
    let head = tables.and_then(tables_head);
    let mvid = tables
        .zip(find("#GUID"))
        .and_then(|(tables, guids)| mvid(tables, guids));
    facts.tag("assembly");
    facts.out.object("dot_net_assembly", |out| {
        out.text("clr_version", &root.version);
        out.int("assembly_flags", cli.flags);
        out.text("assembly_flags_txt", &flag_names(cli.flags));
        out.int("entry_point_token", cli.entry);
        out.int("metadata_header_rva", cli.metadata_rva);
        out.int("resources_va", cli.resources_rva);
        out.int("strongname_va", cli.strong_name_rva);
        if let Some(pe_entry) = pe.entry_point_raw {
            out.int("entry_point_rva", pe_entry);
        }
        let streams = root.streams.iter().zip(&parts);
        out.map(
            "streams",
            streams.map(|(stream, part)| (stream.name.clone(), *part)),
            |out, name, part| {
                out.object(name, |out| {
                    if let Some(part) = part {
                        stats(part).write(out);
                        out.text("md5", &md5_of(part));
                        out.int("size", part.len() as u64);
                    }
                });
            },
        );
        if let Some(head) = &head {
            write_tables(out, head);
        }
        if let Some(dotnet) = &dotnet {
            write_module(out, dotnet);
        }
    });
    let typelib = dotnet.as_ref().map_or("", |d| d.typelib());
    if mvid.is_some() || !typelib.is_empty() {
        facts.out.object("dot_net_guids", |out| {
            if let Some(mvid) = &mvid {
                out.text("mvid", mvid);
            }
            out.text_if("typelib_id", typelib);
        });
    }
}

fn cli_header(data: &[u8], pe: &PE) -> Option<Cli> {
    let directory = pe.data_directories.get(DIRECTORY_CLI)?;
    if directory.virtual_address() == 0 {
        return None;
    }
    let at = offset_of(pe, directory.virtual_address())?;
    let reader = Reader::little(data);
    Some(Cli {
        metadata_rva: reader.u32(at + 8)?,
        flags: reader.u32(at + 16)?,
        entry: reader.u32(at + 20)?,
        resources_rva: reader.u32(at + 24)?,
        strong_name_rva: reader.u32(at + 32)?,
    })
}

fn metadata_root(data: &[u8], start: usize) -> Option<Root> {
    let reader = Reader::little(data);
    if reader.u32(start)? != METADATA_MAGIC {
        return None;
    }
    let version_len = reader.u32(start + 12)? as usize;
    let version = data.get(start + 16..(start + 16).checked_add(version_len)?)?;
    let mut at = start + 16 + version_len + 4;
    let count = reader.u16(at - 2)? as usize;
    let mut streams = Vec::new();
    for _ in 0..count.min(STREAMS_MAX) {
        let (Some(offset), Some(size), Some(rest)) =
            (reader.u32(at), reader.u32(at + 4), data.get(at + 8..))
        else {
            break;
        };
        let Some(name_len) = rest.iter().take(32).position(|b| *b == 0) else {
            break;
        };
        streams.push(Stream {
            name: lossy(rest),
            offset: start.checked_add(offset as usize)?,
            size: size as usize,
        });
        at += 8 + (name_len + 4) / 4 * 4;
    }
    Some(Root {
        version: lossy(version),
        streams,
    })
}

fn tables_head(stream: &[u8]) -> Option<Tables> {
    let reader = Reader::little(stream);
    let present = reader.u64(8)?;
    let rows = (0..present.count_ones() as usize)
        .map(|i| reader.u32(24 + i * 4))
        .collect::<Option<Vec<u32>>>()?;
    Some(Tables { present, rows })
}

/// The GUID of the one row of the Module table, which comes first.
fn mvid(tables: &[u8], guids: &[u8]) -> Option<String> {
    let reader = Reader::little(tables);
    let (sizes, present) = (reader.u8(6)?, reader.u64(8)?);
    if present & 1 == 0 {
        return None;
    }
    let row = 24 + present.count_ones() as usize * 4;
    let after_name = row + 2 + if sizes & 1 != 0 { 4 } else { 2 };
    let index = if sizes & 2 != 0 {
        reader.u32(after_name)?
    } else {
        reader.u16(after_name)?.into()
    };
    let at = (index as usize).checked_sub(1)?.checked_mul(16)?;
    guid_at(Reader::little(guids.get(at..at.checked_add(16)?)?), 0)
}

fn flag_names(flags: u32) -> String {
    const NAMES: [(u32, &str); 6] = [
        (0x1, "COMIMAGE_FLAGS_ILONLY"),
        (0x2, "COMIMAGE_FLAGS_32BITREQUIRED"),
        (0x4, "COMIMAGE_FLAGS_IL_LIBRARY"),
        (0x8, "COMIMAGE_FLAGS_STRONGNAMESIGNED"),
        (0x10, "COMIMAGE_FLAGS_NATIVE_ENTRYPOINT"),
        (0x1_0000, "COMIMAGE_FLAGS_TRACKDEBUGDATA"),
    ];
    let set: Vec<&str> = NAMES
        .iter()
        .filter(|(bit, _)| flags & bit != 0)
        .map(|(_, name)| *name)
        .collect();
    set.join(", ")
}

fn write_tables(out: &mut Out, tables: &Tables) {
    let hex: String = tables.rows.iter().map(|rows| format!("{rows:x}")).collect();
    let logs: String = tables
        .rows
        .iter()
        .map(|rows| format!("{:x}", 32 - rows.leading_zeros()))
        .collect();
    out.int("tables_present", tables.rows.len() as u64);
    out.text("tables_present_map", &format!("{:x}", tables.present));
    out.text("tables_rows_map", &hex);
    out.text("tables_rows_map_log", &logs);
}

fn version_text(version: &Version) -> String {
    format!(
        "{}.{}.{}.{}",
        version.major(),
        version.minor(),
        version.build_number(),
        version.revision_number()
    )
}

fn write_module(out: &mut Out, dotnet: &Dotnet) {
    out.text_if("assembly_name", dotnet.module_name());
    if let Some(assembly) = dotnet.assembly.as_ref() {
        out.object("assembly_data", |out| {
            out.text("name", assembly.name());
            out.text("culture", assembly.culture());
            if let Some(version) = assembly.version.as_ref() {
                out.int("majorversion", version.major());
                out.int("minorversion", version.minor());
                out.int("buildnumber", version.build_number());
                out.int("revisionnumber", version.revision_number());
            }
        });
    }
    let references = dotnet.assembly_refs.iter().map(|r| {
        let version = r.version.as_ref().map(version_text).unwrap_or_default();
        (r.name().to_string(), version)
    });
    out.map("external_assemblies", references, |out, name, version| {
        out.object(name, |out| out.text("version", &version));
    });
    out.list("external_modules", &dotnet.modulerefs, |out, name| out.item(name));
    let resources = dotnet.resources.iter().filter_map(|r| r.name.as_deref());
    out.list("manifest_resource", resources, |out, name| out.item(name));
    write_types(out, dotnet);
}

/// The types it defines, by namespace in order of appearance.
fn write_types(out: &mut Out, dotnet: &Dotnet) {
    let mut spaces: Vec<(&str, Vec<&str>)> = Vec::new();
    for class in dotnet.classes.iter().take(LIST_MAX * LIST_MAX) {
        let (space, name) = (class.namespace(), class.name());
        match spaces.iter().position(|(known, _)| *known == space) {
            Some(i) => spaces[i].1.push(name),
            None if spaces.len() < LIST_MAX => spaces.push((space, vec![name])),
            None => {}
        }
    }
    out.list("type_definition_list", &spaces, |out, (space, names)| {
        out.item_object(|out| {
            out.text("namespace", space);
            out.list("type_definitions", names, |out, name| out.item(name));
        });
    });
}
