//! The one table of what is kept of a sample for the conditions that ask for it. The
//! extraction walks it, and a plan asks for nothing that is not in it, so that the
//! two cannot drift apart. A change of a row or of what it yields is a new VERSION.

/// What a kind of value yields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Yields {
    /// A number or truth, as a whole.
    Number,
    /// A text as a whole, folded.
    Text,
    /// A text as a whole and each four bytes of it, folded.
    Grams,
}

use Yields::{Grams, Number, Text};

/// Fields of the outputs of the engine's modules: `[]` stands for every element of a
/// list or map. The names are those of the language.
pub const FIELDS: &[(&str, Yields)] = &[
    ("pe.is_pe", Number),
    ("pe.is_signed", Number),
    ("pe.machine", Number),
    ("pe.subsystem", Number),
    ("pe.opthdr_magic", Number),
    ("pe.characteristics", Number),
    ("pe.dll_characteristics", Number),
    ("pe.timestamp", Number),
    ("pe.export_timestamp", Number),
    ("pe.checksum", Number),
    ("pe.image_base", Number),
    ("pe.base_of_code", Number),
    ("pe.base_of_data", Number),
    ("pe.entry_point", Number),
    ("pe.entry_point_raw", Number),
    ("pe.size_of_image", Number),
    ("pe.size_of_code", Number),
    ("pe.size_of_initialized_data", Number),
    ("pe.size_of_uninitialized_data", Number),
    ("pe.number_of_sections", Number),
    ("pe.number_of_resources", Number),
    ("pe.number_of_imports", Number),
    ("pe.number_of_imported_functions", Number),
    ("pe.number_of_exports", Number),
    ("pe.number_of_signatures", Number),
    ("pe.number_of_version_infos", Number),
    ("pe.linker_version.major", Number),
    ("pe.linker_version.minor", Number),
    ("pe.os_version.major", Number),
    ("pe.subsystem_version.major", Number),
    ("pe.dll_name", Grams),
    ("pe.pdb_path", Grams),
    ("pe.version_info[]", Grams),
    ("pe.version_info_list[].key", Text),
    ("pe.version_info_list[].value", Grams),
    ("pe.rich_signature.key", Number),
    ("pe.rich_signature.offset", Number),
    ("pe.rich_signature.length", Number),
    ("pe.rich_signature.clear_data", Text),
    ("pe.rich_signature.raw_data", Text),
    ("pe.rich_signature.tools[].toolid", Number),
    ("pe.rich_signature.tools[].version", Number),
    ("pe.sections[].name", Grams),
    ("pe.sections[].full_name", Grams),
    ("pe.sections[].characteristics", Number),
    ("pe.sections[].raw_data_size", Number),
    ("pe.sections[].raw_data_offset", Number),
    ("pe.sections[].virtual_size", Number),
    ("pe.sections[].virtual_address", Number),
    ("pe.resource_timestamp", Number),
    ("pe.resources[].id", Number),
    ("pe.resources[].type", Number),
    ("pe.resources[].language", Number),
    ("pe.resources[].length", Number),
    ("pe.resources[].name_string", Text),
    ("pe.resources[].type_string", Text),
    ("pe.import_details[].library_name", Grams),
    ("pe.import_details[].functions[].name", Text),
    ("pe.delayed_import_details[].library_name", Grams),
    ("pe.delayed_import_details[].functions[].name", Text),
    ("pe.export_details[].name", Text),
    ("pe.signatures[].subject", Grams),
    ("pe.signatures[].issuer", Grams),
    ("pe.signatures[].thumbprint", Text),
    ("pe.signatures[].serial", Text),
    ("pe.signatures[].not_before", Number),
    ("pe.signatures[].not_after", Number),
    ("pe.signatures[].digest", Text),
    ("pe.signatures[].file_digest", Text),
    ("pe.signatures[].certificates[].subject", Grams),
    ("pe.signatures[].certificates[].issuer", Grams),
    ("pe.signatures[].certificates[].thumbprint", Text),
    ("pe.signatures[].certificates[].serial", Text),
    ("pe.signatures[].signer_info.program_name", Grams),
    ("pe.signatures[].signer_info.chain[].subject", Grams),
    ("pe.signatures[].signer_info.chain[].issuer", Grams),
    ("pe.signatures[].signer_info.chain[].thumbprint", Text),
    ("pe.signatures[].signer_info.chain[].serial", Text),
    ("pe.overlay.offset", Number),
    ("pe.overlay.size", Number),
    ("dotnet.is_dotnet", Number),
    ("dotnet.module_name", Grams),
    ("dotnet.version", Text),
    ("dotnet.typelib", Text),
    ("dotnet.guids[]", Text),
    ("dotnet.number_of_streams", Number),
    ("dotnet.number_of_guids", Number),
    ("dotnet.number_of_resources", Number),
    ("dotnet.number_of_classes", Number),
    ("dotnet.number_of_assembly_refs", Number),
    ("dotnet.number_of_user_strings", Number),
    ("dotnet.streams[].name", Text),
    ("dotnet.assembly.name", Grams),
    ("dotnet.assembly_refs[].name", Grams),
    ("dotnet.modulerefs[]", Grams),
    ("dotnet.resources[].name", Grams),
    ("elf.type", Number),
    ("elf.machine", Number),
    ("elf.osabi", Number),
    ("elf.entry_point", Number),
    ("elf.number_of_sections", Number),
    ("elf.number_of_segments", Number),
    ("elf.symtab_entries", Number),
    ("elf.dynsym_entries", Number),
    ("elf.sections[].name", Text),
    ("elf.sections[].size", Number),
    ("macho.magic", Number),
    ("macho.cputype", Number),
    ("macho.cpusubtype", Number),
    ("macho.filetype", Number),
    ("macho.fat_magic", Number),
    ("macho.nfat_arch", Number),
    ("macho.number_of_segments", Number),
    ("macho.uuid", Text),
    ("macho.source_version", Text),
    ("macho.dylibs[].name", Grams),
    ("macho.rpaths[]", Grams),
    ("macho.entitlements[]", Grams),
    ("macho.segments[].segname", Text),
    ("macho.file[].cputype", Number),
    ("macho.file[].filetype", Number),
    ("macho.file[].uuid", Text),
    ("macho.file[].dylibs[].name", Grams),
    ("macho.file[].entitlements[]", Grams),
    ("lnk.is_lnk", Number),
    ("lnk.name", Grams),
    ("lnk.icon_location", Grams),
    ("lnk.icon_index", Number),
    ("lnk.local_base_path", Grams),
    ("lnk.common_path_suffix", Grams),
    ("lnk.relative_path", Grams),
    ("lnk.working_dir", Grams),
    ("lnk.cmd_line_args", Grams),
    ("lnk.volume_label", Grams),
    ("lnk.drive_serial_number", Number),
    ("lnk.file_size", Number),
    ("lnk.creation_time", Number),
    ("lnk.access_time", Number),
    ("lnk.write_time", Number),
    ("lnk.overlay_size", Number),
    ("lnk.tracker_data.machine_id", Grams),
    ("lnk.tracker_data.droid_volume_id", Text),
    ("lnk.tracker_data.droid_file_id", Text),
    ("lnk.tracker_data.droid_birth_volume_id", Text),
    ("lnk.tracker_data.droid_birth_file_id", Text),
];

/// What the functions of modules tell; the value is made in `extract.rs`.
pub const IMPHASH: &str = "pe.imphash()";
/// A library, folded, that functions are imported from, at once or delayed.
pub const IMPORTS: &str = "pe.imports(dll)";
/// A library and a function's name, folded, with a zero between.
pub const IMPORTS_FUNCTION: &str = "pe.imports(dll, function)";
pub const EXPORTS: &str = "pe.export_details[].name";
pub const LOCALE: &str = "pe.locale()";
pub const LANGUAGE: &str = "pe.language()";
pub const IS_DLL: &str = "pe.is_dll()";
pub const IS_32BIT: &str = "pe.is_32bit()";
pub const IS_64BIT: &str = "pe.is_64bit()";
/// Of the whole sample, as lower-case hexadecimal digits.
pub const MD5: &str = "hash.md5(0, filesize)";
pub const SHA256: &str = "hash.sha256(0, filesize)";
/// Fields that are places in the sample: four bytes at each of the first offsets from there.
pub const PLACES: &[&str] = &["pe.entry_point", "elf.entry_point"];
pub const PLACE_BYTES: usize = 32;

pub fn yields(path: &str) -> Option<Yields> {
    FIELDS
        .iter()
        .find(|(field, _)| *field == path)
        .map(|(_, yields)| *yields)
}
