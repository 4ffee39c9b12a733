//! The language of conditions as a table: for each kind of expression the ways to
//! write one, with the kinds of its parts in braces.
//!
//! Besides kinds of the table there are those that `Maker::special` makes. `{let k}`
//! is a new name for something of kind `k`, known from `{in}` to the row's end.

/// A kind, its rows without parts of any depth, and its other rows.
type Kind = (
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
);

#[rustfmt::skip]
pub const TABLE: &[Kind] = &[
    // Where a condition begins.
    (
        "top",
        &[
            "{fact}", "{fact}", "{fact}", "{fact}", "{call}", "{call}", "{size}", "{head}", "{loop}", "{bool}", "{bool}", "{bool}",
            "({fact} and {bool})", "({call} and {bool})", "not {fact}", "not {call}", "({fact} or {bool})",
        ],
        &[],
    ),
    (
        "loop",
        &[
            "for {q} of {set} : ({inset}{each})", "for {q} of {set} : ({inset}not {each})", "for {q} of {set} : ({inset}{each} or {each})",
            "for {q} of {set} : ({inset}for {q} of {set} : ({inset}{each}) and {each})",
        ],
        &[],
    ),
    (
        "bool",
        &[
            "${p}", "${p}", "{each}", "{fact}", "{fact}", "{call}", "{loop}", "{head}", "{size}", "{rule}", "{rule}", "true", "false", "#{p} {cmp} {small}",
            "pe.is_pe", "lnk.is_lnk", "dotnet.is_dotnet", "pe.is_signed", "pe.is_dll()", "pe.is_32bit()", "pe.is_64bit()",
            "#{p} >= 0", "#{p} in (0..20) >= 0", "{num0} >= 0", "{num0} != 1", "{num0} > -1", "#{p} * (1.0 \\ #{p})", "#{p} * filesize * (1.0 \\ #{p}) != 0", "(#{p} | {small}) != 0", "(#{p} + #{p}) >= 1",
            "pe.is_pe == {small}", "dotnet.is_dotnet == 0", "lnk.is_lnk == 0", "filesize",
        ],
        &[
            "({bool} and {bool})", "({bool} and {bool} and {bool})", "({bool} or {bool})", "({bool} or {bool} or {bool})", "not {bool}",
            "not ({bool} or {bool})", "not ({bool} and {bool})", "not ({size} and {bool})", "not ({size} or {bool})", "not ({bool} and {size})", "not not {bool}", "defined {bool}", "defined {num}", "defined {str}",
            "not defined {num}", "not defined {str}", "defined ({float})", "not ({num} {cmp} {num})", "not ({str} {cmp} {str})",
            "{q} of {set}", "2 of them", "2 of ({fact}, {call}, {bool})", "for 2 of them : ($)", "75% of them", "{q} of {set} at {num}", "{q} of {set} in ({num}..{num})", "{q} of ({bool}, {bool}, {bool})",
            "none of ({bool}, {bool})", "{num}% of ({bool}, {bool}, {bool})",
            "for {q} of {set} : ({inset}{bool})",
            "for {q} of {set} : ({inset}{each} {op} {bool})",
            "for {q} {let num} in ({num}..{num}) : ({in}{bool})",
            "for {q} {let num} in (0..{small}) : ({in}{bool})",
            "for {q} {let num} in (1..#{p}) : ({in}{bool})",
            "for {q} {let num} in ({num}, {num}, {num}) : ({in}{bool})",
            "for {q} {let num} in ({int}, {small}, {int}) : ({in}{num} {cmp} {num})",
            "for {q} {let num} in ({small}, {small}) : ({in}${p} at {num})",
            "for {q} {let text} in ({str}, {str}) : ({in}{bool})",
            "for {q} {let text} in ({text}, {text}, {text}) : ({in}{str} == {text})",
            "for {q} {let section} in pe.sections : ({in}{bool})",
            "for {q} {let section} in pe.sections : ({in}{section}.name == {sectionname} and {section}.raw_data_size > 0)",
            "for {q} {let import} in pe.import_details : ({in}for {q} {let function} in {import}.functions : ({in}{bool}))",
            "for {q} {let import} in pe.import_details : ({in}pe.imports({import}.library_name, {func}))",
            "for {q} {let import} in pe.delayed_import_details : ({in}pe.imports(pe.IMPORT_ANY, {import}.library_name, {func}))",
            "for {q} {let str}, {let str} in pe.version_info : ({in}{bool})",
            "for {q} {let str}, {let str} in pe.version_info : ({in}{str} == {text} and {str} icontains {text})",
            "for {q} {let str} in macho.rpaths : ({in}{bool})",
            "for {q} {let str} in dotnet.modulerefs : ({in}{bool})",
            "for {q} {let dylib} in macho.dylibs : ({in}{bool})",
            "with {let num} = {num} : ({in}{bool})",
            "with {let num} = {num}, {let str} = {str} : ({in}{bool})",
            "with {let bool} = {bool} : ({in}{bool})",
            "with {let float} = {float} : ({in}{bool})",
            "with {let str} = {str} : ({in}{bool})",
            "with {let text} = {text} : ({in}{str} {cmp} {text})",
            "with {let section} = pe.sections[{small}] : ({in}{bool})",
            "with pe = {num} : (pe {cmp} {num0})", "for {q} pe in ({small}, {small}) : (pe == {small})",
            "with {let lib} = {lib} : ({in}pe.imports({lib}, {func}))",
            "${p} at 0", "${p} at {small}", "{q} of {set} at 0", "${p} in (0..0)", "${p} at {num}", "${p} in ({num}..{num})", "${p} at pe.entry_point", "${p} at elf.entry_point", "${p} at filesize - {small}",
            "{q} of {set} at pe.entry_point",
            "{num} {cmp} {num}", "{num} {cmp} {num}", "{num} {cmp} {int}", "{int} {cmp} {num}", "{num}", "{str}",
            "{float} {cmp} {num}", "{num} {cmp} {float}", "{float} {cmp} {float}", "{float}",
            "{str} {cmp} {str}", "{str} contains {str}", "{str} icontains {str}", "{str} startswith {str}", "{str} istartswith {str}",
            "{str} endswith {str}", "{str} iendswith {str}", "{str} iequals {str}", "{str} matches {regexp}",
            "pe.imports({str}, {str})", "pe.imports({flags}, {str}, {str})", "pe.imports({str}) {cmp} {small}", "pe.imports({str}, {num}) > 0",
            "pe.exports({str})", "pe.exports({num})", "pe.exports({regexp})", "pe.exports_index({str}) {cmp} {small}",
            "pe.imports({regexp}, {regexp}) > 0", "pe.section_index({str}) {cmp} {small}", "pe.locale({num})", "pe.language({num})",
            "{many}", "math.in_range({float}, {float}, {float})",
        ],
    ),
    // Calls whose arguments are what some sample has.
    ("call", &["{callpe}", "{callpe}", "{callpe}", "{callelf}", "{callmacho}", "{digest}", "not {digest}"], &[]),
    (
        "callpe",
        &[
            "pe.imports({lib}, {func})", "pe.imports({lib}) > 0", "pe.imports({lib}) {cmp} {small}",
            "pe.imports({lib}, {small}) {cmp} 0", "pe.imports({flags}, {lib}, {func})", "pe.imports({flags}, {lib}) > 0",
            "pe.imports({flags}, {lib}, {small})", "not pe.imports({lib}, {func})", "pe.imports({importname}, {func})",
            "pe.imports({importname}, {small}) > 0", "pe.imports({importname}) > 0",
            "pe.imports({flags}, {importname}, {func})", "pe.imports({flags}, {importname})", "pe.imports({lib}, {functionname})",
            "pe.imports({small}, {lib}, {func})", "pe.imports({small} + 1, {importname}, {func})",
            "pe.exports({export})", "not pe.exports({export})", "pe.exports_index({export}) {cmp} {small}", "defined pe.exports_index({export})",
            "not defined pe.exports_index({export})", "pe.exports({exportname})",
            "pe.section_index({sectionname}) {cmp} {small}", "defined pe.section_index({sectionname})", "pe.section_index({section}.name) >= 0",
            "pe.locale(0x409)", "pe.locale(0x419 + {small})", "pe.language(9)", "pe.language(0x19 | 0)", "pe.language({small} + 8)",
            "defined pe.imphash()",
            "pe.machine == pe.MACHINE_I386", "pe.machine == pe.MACHINE_AMD64", "pe.subsystem == pe.SUBSYSTEM_NATIVE",
            "pe.opthdr_magic == pe.IMAGE_NT_OPTIONAL_HDR32_MAGIC", "pe.characteristics & pe.DLL != 0", "pe.characteristics & pe.DLL == pe.DLL", "pe.resources[{small}].type == pe.RESOURCE_TYPE_VERSION",
        ],
        &[],
    ),
    (
        "callelf",
        &[
            "elf.machine == {machine}", "{machine} == elf.machine", "elf.machine != {machine}", "elf.type == elf.ET_DYN", "elf.type == elf.ET_EXEC",
            "elf.osabi == elf.ELFOSABI_LINUX", "elf.sections[{small}].type == elf.SHT_STRTAB",
        ],
        &[],
    ),
    (
        "callmacho",
        &[
            "macho.magic == macho.MH_MAGIC_64", "macho.magic == macho.MH_CIGAM_64", "macho.cputype == macho.CPU_TYPE_X86_64",
            "macho.filetype == macho.MH_EXECUTE", "lnk.show_command == 1",
        ],
        &[],
    ),
    (
        "machine",
        &["elf.EM_RCE", "elf.EM_MCORE", "elf.EM_386", "elf.EM_X86_64", "elf.EM_ARM", "39", "62"],
        &[],
    ),
    ("importname", &["pe.import_details[0].library_name", "pe.import_details[1].library_name", "pe.delayed_import_details[0].library_name"], &[]),
    ("functionname", &["pe.import_details[0].functions[0].name", "pe.import_details[1].functions[1].name"], &[]),
    ("exportname", &["pe.export_details[0].name", "pe.export_details[1].name", "pe.dll_name"], &[]),
    (
        "flags",
        &["pe.IMPORT_STANDARD", "pe.IMPORT_DELAYED", "pe.IMPORT_ANY", "3", "pe.IMPORT_STANDARD | pe.IMPORT_DELAYED", "(pe.IMPORT_ANY + 0)"],
        &[],
    ),
    ("op", &["and", "or", "and not"], &[]),
    ("cmp", &["==", "==", "!=", "<", "<=", ">", ">="], &[]),
    ("each", &["$", "$ at 0", "# > 1", "#", "@ < 30", "! > 3", "$ in (0..20)", "@[1] > 3", "@[2] >= 0", "![1] == 4"], &["$ at {num}", "# in ({num}..{num}) > 0", "@[{num}] {cmp} {num}"]),
    (
        "q",
        &["any", "any", "any", "all", "all", "none", "{small}", "{small}", "50%", "{pct}%", "({small} - #a)", "({small} + 1)", "0"],
        &["({num})", "({num})%"],
    ),
    ("set", &["them", "($a, $b)", "($a)", "($*)", "($a*, $c)", "($c)"], &[]),
    ("p", &["a", "b", "c"], &[]),
    ("pct", &["0", "1", "25", "33", "34", "51", "67", "75", "99", "100"], &[]),
    ("read", &["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "uint8be", "int8be", "uint16be", "int16be", "uint32be", "int32be", "uint64be", "int64be"], &[]),
    (
        "num",
        &[
            "{int}", "{int}", "{small}", "{small}", "filesize", "#{p}", "@{p}", "!{p}", "@{p}[1]", "@{p}[2]", "!{p}[2]", "#{p} in (0..20)",
            "pe.number_of_sections", "pe.entry_point", "pe.machine", "pe.timestamp", "pe.overlay.size", "pe.checksum", "pe.image_base",
            "elf.type", "elf.machine", "elf.entry_point", "elf.number_of_sections", "macho.cputype", "macho.magic", "lnk.file_size",
            "lnk.icon_index", "lnk.creation_time", "dotnet.number_of_streams", "pe.resources[1].language",
            "{section}.raw_data_size", "{section}.virtual_address", "{section}.characteristics", "elf.sections[1].size",
            "pe.MACHINE_AMD64", "pe.DLL", "elf.EM_RCE", "pe.calculate_checksum()", "time.now()", "{read}(0)", "{read}({small})",
            "hash.crc32(0, filesize)", "hash.checksum32(0, 4)",
        ],
        &[
            "({num} + {num})", "({num} - {num})", "({num} * {num})", "({num} \\ {num})", "({num} % {num})", "({num} & {num})",
            "({num} | {num})", "({num} ^ {num})", "({num} << {num})", "({num} >> {num})", "~{num}", "-{num}",
            "(#{p} * #{p})", "(#{p} + #{p})", "(#{p} * filesize * {int})", "(filesize + {int})", "(filesize - {int})", "(filesize * {int})",
            "#{p} in ({num}..{num})", "@{p}[{num}]", "!{p}[{num}]", "{read}({num})", "{read}(filesize - {small})", "({read}({small}) & {int})",
            "pe.section_index({num})", "pe.section_index({str})", "pe.rva_to_offset({num})", "pe.offset_to_rva({num})",
            "pe.import_rva({lib}, {func})", "pe.imports({lib})", "pe.sections[{num}].raw_data_size", "pe.resources[{num}].id",
            "string.length({str})", "string.to_int({str})", "math.abs({num})", "math.min({num}, {num})", "math.max({num}, {num})",
            "math.to_number({bool})", "math.count({num})", "math.count({num}, {num}, {num})", "hash.crc32({str})", "pe.rich_signature.toolid({num})",
        ],
    ),
    (
        "float",
        &["1.5", "0.0", "-0.0", "{small}.5", "{small}.0", "(1.0 \\ 0.0)", "(0.0 \\ 0.0)", "(-1.0 \\ 0.0)", "(1.0 \\ #{p})", "(0.0 * (1.0 \\ 0.0))", "math.entropy(0, filesize)", "math.mean(0, 4)"],
        &[
            "({float} + {float})", "({float} - {float})", "({float} * {float})", "({float} \\ {float})", "({num} * {float})",
            "({num} \\ {float})", "({float} + {num})", "(#{p} * (1.0 \\ #{p}))", "(filesize * {float})", "-{float}", "math.entropy({num}, {num})",
            "math.deviation({num}, {num}, {float})", "math.mean({str})", "math.percentage({num})",
        ],
    ),
    (
        "str",
        &[
            "{text}", "{text}", "pe.pdb_path", "pe.dll_name", "{section}.name", "{section}.full_name", "{importname}", "{functionname}", "{exportname}",
            "pe.version_info[\"CompanyName\"]", "pe.version_info[\"companyname\"]", "pe.version_info_list[0].value", "pe.resources[0].type_string",
            "pe.resources[0].name_string", "pe.imphash()", "hash.md5(0, filesize)", "hash.sha1(0, filesize)", "hash.md5(0, 4)",
            "elf.sections[1].name", "elf.telfhash()", "elf.import_md5()", "macho.dylibs[0].name", "macho.rpaths[0]", "macho.segments[0].segname",
            "lnk.name", "lnk.relative_path", "lnk.cmd_line_args", "lnk.working_dir", "lnk.tracker_data.machine_id", "dotnet.module_name",
            "dotnet.modulerefs[0]", "dotnet.assembly_refs[0].name", "dotnet.guids[0]", "{function}.name", "{import}.library_name", "{dylib}.name",
        ],
        &[
            "pe.version_info[{str}]", "pe.sections[{num}].name", "hash.md5({num}, filesize)", "hash.sha256(0, {num})", "hash.md5({str})",
            "macho.dylibs[{num}].name",
        ],
    ),
    ("section", &["pe.sections[0]", "pe.sections[1]", "pe.sections[0 + 1]"], &["pe.sections[{num}]"]),
    ("import", &["pe.import_details[0]", "pe.import_details[1]", "pe.delayed_import_details[0]"], &[]),
    ("function", &["pe.import_details[0].functions[0]", "pe.import_details[0].functions[1]"], &[]),
    ("dylib", &["macho.dylibs[0]", "macho.dylibs[1]", "macho.file[0].dylibs[0]"], &[]),
    (
        "int",
        &[
            "0", "1", "2", "3", "7", "16", "20", "63", "64", "65", "255", "0x5a4d", "0xffff", "0x7fffffff", "0xffffffff", "0x80000000",
            "0x7fffffffffffffff", "0xffffffffffffffff", "0x8000000000000000", "(-1)", "(-9223372036854775807 - 1)", "1KB", "2MB",
            "4611686018427387904", "(1 << 62)", "(1 << 63)", "(1 << 64)", "(3 >> 1)", "(7 % 4)", "(7 \\ 2)", "(-7 \\ 2)", "(-7 % 4)",
            "(7 \\ 0)", "(7 % 0)", "(6 & 3)", "(6 | 1)", "(6 ^ 5)", "(2 * 3 - 1)", "-(5)", "~0", "~(-3)", "(1 - 2 + 3)",
            "(-5 >> 1)", "(-5 & 255)", "{filesize}", "{filesize}", "({filesize} + 1)",
        ],
        &[],
    ),
    ("small", &["0", "1", "2", "3", "4"], &[]),
    // `field` is some field of some sample, `value` its value.
    (
        "fact-number",
        &[
            "{field} == {value}", "{value} == {field}", "{field} != {value}", "not {field} != {value}", "{field} >= {value}", "{field} <= {value}",
            "{field} > {value}", "{field} < {value}", "not ({field} < {value})", "({field} + 1) == {value} + 1", "({field} & {value}) == {value}",
            "with v = {value} : ({field} == v)", "with f = {field} : (f == {value})", "for any v in ({value}, {small}) : ({field} == v)",
            "for any v in ({field}, {small}) : (v == {value})", "{field}", "not {field}", "defined {field}", "({field} == {value} or {bool0})",
            "{field} == ({value} - 1) + 1", "{field} == {value} * 1.0",
        ],
        &[],
    ),
    (
        "fact-truth",
        &[
            "{field}", "not {field}", "not not {field}", "{field} == 1", "{field} == 0",
            "defined {field}", "with f = {field} : (f)", "with f = {field} : (not f)", "{field} and {bool0}", "({field} or not {field})",
        ],
        &[],
    ),
    (
        "fact-text",
        &[
            "{field} == {value}", "{value} == {field}", "{field} != {value}", "not ({field} != {value})", "{field} >= {value}", "{field} < {value}",
            "{field} iequals {anycase}", "{anycase} iequals {field}", "{field} iequals {anycase}", "{field} icontains {anycase}", "{field} icontains {anypart}", "{field} iendswith {anyend}", "not ({field} iequals {anycase})", "{field} contains {part}",
            "{field} contains {anycase}", "{value} contains {field}", "{part} contains {field}", "{field} icontains {anypart}", "{anycase} icontains {field}",
            "{field} startswith {start}", "{field} istartswith {anystart}", "{field} endswith {end}", "{field} iendswith {anyend}",
            "{field} matches {partregexp}", "not ({field} contains {part})", "not ({field} matches {partregexp})",
            "with v = {value} : ({field} == v)", "with f = {field} : (f iequals {anycase})", "with f = {field}, p = {anypart} : (f icontains p)",
            "for any v in ({value}, {text}) : ({field} == v)", "for any v in ({field}, {text}) : (v == {value})",
            "for any v in ({part}, {text}) : ({field} contains v)", "{field}", "not {field}", "defined {field}", "({field} == {value} or {bool0})",
            "string.length({field}) > 0", "hash.md5({field}) != \"\"",
        ],
        &[],
    ),
    // `field` is `rest` of an element of `list`.
    (
        "fact-number-list",
        &[
            "for {q} e in {list} : (e{rest} == {value})", "for any e in {list} : (e{rest} >= {value})", "for any e in {list} : (not e{rest} != {value})",
            "for any i in (0..9) : ({list}[i]{rest} == {value})", "for any e in {list} : (with x = e{rest} : (x == {value}))",
            "with e = {element} : (e{rest} == {value})", "for none e in {list} : (e{rest} == {value})", "for all e in {list} : (e{rest} != {value})",
        ],
        &[],
    ),
    (
        "fact-text-list",
        &[
            "for {q} e in {list} : (e{rest} == {value})", "for any e in {list} : (e{rest} iequals {anycase})", "for any e in {list} : (e{rest} icontains {anypart})",
            "for any e in {list} : (e{rest} contains {part})", "for any e in {list} : (e{rest} matches {partregexp})",
            "for any i in (0..9) : ({list}[i]{rest} == {value})", "with e = {element} : (e{rest} startswith {start})",
            "for none e in {list} : (e{rest} == {value})", "for all e in {list} : (e{rest} != {value})",
            "for any e in {list} : (with x = e{rest} : (x iendswith {anyend}))",
        ],
        &[],
    ),
    (
        "fact-text-key",
        &[
            "for any k, v in {list} : (v == {value})", "for any k, v in {list} : (k == {key} and v == {value})", "for any k, v in {list} : (v icontains {anypart})",
            "with k = {key} : ({list}[k] == {value})", "for any k in ({key}, {text}) : ({list}[k] == {value})", "for any k, v in {list} : ({list}[k] == {value})",
            "for any k, v in {list} : (k == {value} or v contains {part})",
        ],
        &[],
    ),
];

/// All rows, in the order of their numbers.
pub fn rows() -> impl Iterator<Item = (&'static str, &'static str)> {
    TABLE
        .iter()
        .flat_map(|(kind, flat, deep)| flat.iter().chain(deep.iter()).map(move |row| (*kind, *row)))
}
