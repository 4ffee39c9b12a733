//! The language of conditions as a table: for each kind of expression the ways to
//! write one, with the kinds of its parts in braces.
//!
//! Besides kinds of the table there are those that `Maker::special` makes. `{let k}`
//! is a new name for something of kind `k`, known from `{in}` to the row's end.

use super::facts::{escaped, Facts, Value};
use super::samples::{VERSION_KEYS, WORDS};
use super::Dice;

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

/// Numbers at which sums run over.
const EDGES: &[&str] = &[
    "(-9223372036854775807 - 1)",
    "(-9223372036854775807 - 1)",
    "(-9223372036854775807)",
    "0x7fffffffffffffff",
    "0x7ffffffffffffff0",
    "0",
    "1",
    "5",
    "-5",
    "0.5",
    "4000",
];

const DEPTH_MAX: usize = 4;

fn is_condition(kind: &str) -> bool {
    let known = [
        "top",
        "loop",
        "bool",
        "call",
        "callpe",
        "callelf",
        "callmacho",
    ];
    known.contains(&kind) || kind.starts_with("fact-")
}

pub struct Maker<'a> {
    dice: &'a mut Dice,
    facts: &'a Facts,
    earlier: &'a [String],
    /// How often each row was in a match: rare ones are preferred.
    counts: &'a [usize],
    /// Names in loops and the kinds of what they stand for.
    names: Vec<(String, &'static str)>,
    fresh: usize,
    fact: (String, Option<Value>),
    /// Rows used so far.
    pub rows: Vec<usize>,
}

impl<'a> Maker<'a> {
    pub fn new(
        dice: &'a mut Dice,
        facts: &'a Facts,
        earlier: &'a [String],
        counts: &'a [usize],
    ) -> Self {
        Maker {
            dice,
            facts,
            earlier,
            counts,
            names: Vec::new(),
            fresh: 0,
            fact: (String::new(), None),
            rows: Vec::new(),
        }
    }

    /// An expression of a kind.
    pub fn make(&mut self, kind: &str, depth: usize) -> String {
        if let Some(made) = self.special(kind, depth) {
            return made;
        }
        let known: Vec<String> = self
            .names
            .iter()
            .filter(|(_, of)| *of == kind || (*of == "text" && kind == "str"))
            .map(|(name, _)| name.clone())
            .collect();
        if !known.is_empty() && !self.dice.one_in(3) {
            return self.dice.pick(&known).clone();
        }
        let mut first = 0;
        let (flat, deep) = TABLE
            .iter()
            .find_map(|(name, flat, deep)| {
                let found = (*name == kind).then_some((*flat, *deep));
                if found.is_none() {
                    first += flat.len() + deep.len();
                }
                found
            })
            .unwrap_or_else(|| panic!("no kind {kind}"));
        let mut any = || {
            let shallow = depth >= DEPTH_MAX || deep.is_empty() || self.dice.one_in(2);
            if shallow {
                self.dice.below(flat.len())
            } else {
                flat.len() + self.dice.below(deep.len())
            }
        };
        let (one, other) = (any(), any());
        let count = |at: &usize| self.counts.get(first + *at).copied().unwrap_or(0);
        let at = [one, other].into_iter().min_by_key(count).unwrap();
        self.rows.push(first + at);
        self.fill(flat.iter().chain(deep).nth(at).unwrap(), depth)
    }

    /// A condition made with the row of this number, so that none is passed over.
    pub fn with_row(&mut self, number: usize) -> String {
        let (kind, row) = rows().nth(number).unwrap();
        if kind.starts_with("fact-") && !self.choose_fact(kind) {
            return self.make("top", 0);
        }
        self.rows.push(number);
        let made = self.fill(row, 1);
        match kind {
            "int" | "small" | "num" | "float" => {
                let (cmp, than) = (self.make("cmp", 0), self.make("num", DEPTH_MAX));
                format!("{made} {cmp} {than}")
            }
            "str" => format!("{made} {} {}", self.make("cmp", 0), self.make("text", 0)),
            "machine" => format!("elf.machine == {made}"),
            "each" => format!("for any of them : ({made})"),
            "q" => format!("{made} of ($a, $b, $c)"),
            "set" => format!("any of {made}"),
            "importname" => format!("pe.imports({made}, {})", self.make("func", 0)),
            "flags" => format!("pe.imports({made}, {}) > 0", self.make("lib", 0)),
            kind if is_condition(kind) => made,
            _ => self.make("top", 0),
        }
    }

    /// A field that rows of this kind can be about.
    fn choose_fact(&mut self, kind: &str) -> bool {
        for _ in 0..200 {
            let (field, value) = self.facts.field(self.dice).clone();
            let of = match &value {
                Value::Number(_) => "fact-number",
                Value::Truth(_) => "fact-truth",
                Value::Text(_) => "fact-text",
            };
            let has_key = field.ends_with("\"]");
            let fits = match kind.strip_prefix(of) {
                Some("-list") => !has_key && field.contains('['),
                Some("-key") => has_key,
                rest => rest == Some(""),
            };
            if fits {
                self.fact = (field, Some(value));
                return true;
            }
        }
        false
    }

    fn fill(&mut self, row: &str, depth: usize) -> String {
        let outer = self.names.len();
        let mut coming = Vec::new();
        let mut out = String::new();
        let mut rest = row;
        while let Some((before, after)) = rest.split_once('{') {
            out.push_str(before);
            let (part, after) = after.split_once('}').unwrap();
            rest = after;
            match part.split_once(' ') {
                Some((_, kind)) => {
                    let kind = TABLE
                        .iter()
                        .map(|row| row.0)
                        .chain(["text", "lib"])
                        .find(|k| *k == kind);
                    self.fresh += 1;
                    let name = match self.dice.below(12) {
                        0 => "r0".into(),
                        1 => "r1".into(),
                        _ => format!("v{}", self.fresh),
                    };
                    out.push_str(&name);
                    coming.push((name, kind.unwrap()));
                }
                None => match part {
                    "in" => self.names.append(&mut coming),
                    "inset" => self.names.push(("$".into(), "inset")),
                    part => out.push_str(&self.make(part, depth + 1)),
                },
            }
        }
        out.push_str(rest);
        self.names.truncate(outer);
        out
    }

    fn text(&mut self) -> &'static str {
        self.dice.word(WORDS)
    }

    /// Kinds that are not in the table.
    fn special(&mut self, kind: &str, depth: usize) -> Option<String> {
        let facts = self.facts;
        Some(match kind {
            // Far down: no more than one more row.
            "bool0" => self.make("bool", DEPTH_MAX),
            "num0" => self.make("num", DEPTH_MAX),
            "each" if !self.names.iter().any(|(_, kind)| *kind == "inset") => {
                format!("${}", self.make("p", depth))
            }
            "rule" => match self.earlier {
                [] => "true".into(),
                earlier => self.dice.pick(earlier).clone(),
            },
            "text" | "lib"
                if self.names.iter().any(|(_, of)| *of == kind) && self.dice.one_in(2) =>
            {
                let known = self.names.iter().rev().find(|(_, of)| *of == kind);
                known?.0.clone()
            }
            "text" => match self.dice.below(8) {
                0 => "\"\"".into(),
                1 => escaped(self.dice.word(VERSION_KEYS).as_bytes()),
                2 if !facts.digests.is_empty() => {
                    escaped(self.dice.pick(&facts.digests).1.as_bytes())
                }
                _ => {
                    let word = self.text();
                    escaped(word.as_bytes())
                }
            },
            "lib" | "func" if !facts.imports.is_empty() => {
                let (library, function) = self.dice.pick(&facts.imports);
                let name = if kind == "lib" { library } else { function };
                self.any_case(name.as_bytes())
            }
            "export" if !facts.exports.is_empty() => {
                let name = self.dice.pick(&facts.exports);
                self.any_case(name.as_bytes())
            }
            "sectionname" if !facts.sections.is_empty() => {
                let name: &Vec<u8> = self.dice.pick(&facts.sections);
                escaped(name)
            }
            "lib" | "func" | "export" | "sectionname" => "\"abc\"".into(),
            "filesize" => self.dice.pick(&facts.sizes).to_string(),
            "digest" => {
                let wanted = self.dice.word(&["md5", "sha256", "imphash"]);
                let of = |one: &&(&str, String)| one.0.contains(wanted);
                let some: Vec<_> = facts.digests.iter().filter(of).collect();
                let Some((call, value)) = some.get(self.dice.below(some.len().max(1))) else {
                    return Some("true".into());
                };
                let value = match self.dice.below(3) {
                    0 => value.to_uppercase(),
                    _ => value.clone(),
                };
                match self.dice.below(4) {
                    0 => format!("\"{value}\" == {call}"),
                    1 => format!("{call} iequals \"{value}\""),
                    2 => format!("with d = \"{value}\" : ({call} == d)"),
                    _ => format!("{call} == \"{value}\""),
                }
            }
            "size" => self.size(depth),
            "many" => self.many(),
            "head" => self.head(depth),
            "regexp" => {
                let word = self.text();
                self.regexp(word.as_bytes())
            }
            "fact" => self.fact(depth),
            "field" => self.fact.0.clone(),
            "list" | "element" | "rest" | "key" => self.place(kind),
            "value" | "part" | "start" | "end" | "anycase" | "anypart" | "anystart" | "anyend"
            | "partregexp" => self.value(kind),
            _ => return None,
        })
    }

    /// Many names, of which one stands for something that may be undefined.
    fn many(&mut self) -> String {
        let n = 60 + self.dice.below(14);
        let odd = self.dice.below(20);
        let mut names = Vec::new();
        for i in 0..n {
            let value = if i == odd {
                self.make("num", DEPTH_MAX)
            } else {
                format!("uint8({})", i % 3)
            };
            names.push(format!("n{i} = {value}"));
        }
        let used: Vec<String> = (0..n).map(|i| format!("n{i} >= 0")).collect();
        let than = self.dice.word(&["== 0", ">= 0", "< 9"]);
        format!(
            "with {} : ({} and n{odd} {than})",
            names.join(", "),
            used.join(" and ").replace(&format!("n{odd} >= 0"), "true")
        )
    }

    /// The size of some sample, nearly.
    fn size(&mut self, depth: usize) -> String {
        let size = *self.dice.pick(&self.facts.sizes) as i64;
        let added = self.dice.below(400) as i64;
        let op = self.make("cmp", depth);
        let near = size + self.dice.below(3) as i64 - 1;
        let not = self.dice.word(&["", "", "not "]);
        match self.dice.below(12) {
            0 => format!("{not}filesize {op} {near}.5"),
            1 => format!("{not}{near} {op} filesize"),
            2 => format!("{not}filesize + {added} {op} {}", near + added),
            3 => format!("{not}filesize - {added} {op} {}", near - added),
            4 => format!("{not}(filesize {op} {near} or filesize < 3)"),
            5 => format!("{not}{}.5 {op} filesize - {added}", (near - added).max(0)),
            6 | 9..=11 => {
                let (a, b) = (self.dice.word(EDGES), self.dice.word(EDGES));
                let added = self.dice.word(&["+", "-"]);
                format!("{not}filesize {added} {a} {op} {b}")
            }
            7 => format!("{not}filesize {op} {}", self.make("int", depth)),
            _ => format!("{not}filesize {op} {near}"),
        }
    }

    /// Bytes at the beginning of some sample, as a number.
    fn head(&mut self, depth: usize) -> String {
        let head = self.dice.pick(&self.facts.heads);
        let read = self.make("read", depth);
        let (bytes, signed, big) = super::super::value::read_function(&read).unwrap();
        let n = bytes as usize;
        if head.len() < n {
            return format!("{read}({}) >= 0", self.dice.below(24));
        }
        let at = self.dice.below(head.len() - n + 1);
        let part = &head[at..at + n];
        let fold = |n: u64, b: &u8| n << 8 | u64::from(*b);
        let raw = if big {
            part.iter().fold(0, fold)
        } else {
            part.iter().rev().fold(0, fold)
        };
        let low = 64 - 8 * bytes;
        let value = if signed {
            ((raw << low) as i64) >> low
        } else {
            raw as i64
        };
        let shown = Value::Number(value).shown();
        let mask = *self.dice.pick(&[
            0xffu64,
            0xf0,
            0xff00,
            0xffff,
            0x7fff_ffff,
            0xffff_ffff,
            0x8000_0000_0000_0000,
            u64::MAX,
        ]);
        let masked = (value as u64 & mask) as i64;
        let masked = match self.dice.below(2) {
            0 => format!("0x{:x}", masked as u64),
            _ => Value::Number(masked).shown(),
        };
        match self.dice.below(9) {
            0 => format!("{shown} == {read}({at})"),
            1 => format!("({read}({at}) & 0x{mask:x}) == {masked}"),
            2 => format!("{masked} == (0x{mask:x} & {read}({at}))"),
            3 => format!("not {read}({at}) != {shown}"),
            4 => format!("{read}({at}) == 0x{:x}", value as u64),
            5 => format!("{read}({at}) >= {shown}"),
            6 => format!("with o = {at} : ({read}(o) == {shown})"),
            7 => format!(
                "for any o in ({at}, {}) : ({read}(o) == {shown})",
                self.dice.below(20)
            ),
            _ => format!("{read}({at}) == {shown}"),
        }
    }

    fn fact(&mut self, depth: usize) -> String {
        if self.facts.fields.is_empty() {
            return "true".into();
        }
        let (field, value) = self.facts.field(self.dice).clone();
        let kind = match &value {
            Value::Number(_) => "fact-number",
            Value::Truth(_) => "fact-truth",
            Value::Text(_) => "fact-text",
        };
        let has_key = field.ends_with("\"]");
        let has_list = !has_key && field.contains('[');
        self.fact = (field, Some(value));
        let kind = match (has_key, has_list) {
            (true, _) if self.dice.one_in(2) => "fact-text-key".into(),
            (_, true) if kind != "fact-truth" && self.dice.one_in(2) => format!("{kind}-list"),
            _ => kind.to_string(),
        };
        self.make(&kind, depth)
    }

    /// Parts of the field's expression.
    fn place(&mut self, part: &str) -> String {
        let field = &self.fact.0;
        // A list in an element of a list is one only of the first's element.
        let at = field.rfind('[').unwrap();
        let end = at + field[at..].find(']').unwrap() + 1;
        match part {
            "list" => field[..at].into(),
            "element" => field[..end].into(),
            "key" => field[at + 1..end - 1].into(),
            _ => field[end..].into(),
        }
    }

    fn value(&mut self, what: &str) -> String {
        let bytes = match self.fact.1.clone().unwrap() {
            Value::Text(bytes) => bytes,
            other => return other.shown(),
        };
        let mut cut = |most: usize| self.dice.below(most + 1);
        let part = match what {
            "part" | "anypart" | "partregexp" => {
                let from = cut(bytes.len() / 2);
                let to = bytes.len() - cut((bytes.len() - from) / 2);
                bytes[from..to].to_vec()
            }
            "start" | "anystart" => bytes[..cut(bytes.len())].to_vec(),
            "end" | "anyend" => bytes[cut(bytes.len())..].to_vec(),
            _ => bytes,
        };
        match what {
            "partregexp" => self.regexp(&part),
            what if what.starts_with("any") => self.any_case(&part),
            _ => escaped(&part),
        }
    }

    /// A text that is the same where case is not minded, as Unicode has it or nearly.
    fn any_case(&mut self, bytes: &[u8]) -> String {
        let Ok(text) = std::str::from_utf8(bytes) else {
            return escaped(bytes);
        };
        let how = self.dice.below(7);
        let mut out = String::new();
        for c in text.chars() {
            match (how, c) {
                (0, c) => out.push(c),
                (1, c) => out.push(c.to_ascii_uppercase()),
                (2, c) => out.extend(c.to_uppercase()),
                (3 | 4, 'k' | 'K' | '\u{212a}') => {
                    out.push(*self.dice.pick(&['k', 'K', '\u{212a}']))
                }
                (3 | 4, 'i' | 'I' | '\u{130}') => {
                    out.push_str(self.dice.word(&["i", "I", "i\u{307}", "\u{130}"]))
                }
                (_, c) if self.dice.one_in(2) => out.extend(c.to_lowercase()),
                (_, c) => out.extend(c.to_uppercase()),
            }
        }
        escaped(out.as_bytes())
    }

    /// A regular expression that the text, or most of it, matches.
    fn regexp(&mut self, bytes: &[u8]) -> String {
        let mut out = String::new();
        for b in bytes {
            let c = *b as char;
            match self.dice.below(16) {
                0 => out.push('.'),
                1 if c.is_ascii_alphabetic() => {
                    out.push_str(&format!(
                        "[{}{}]",
                        c.to_ascii_lowercase(),
                        c.to_ascii_uppercase()
                    ));
                }
                2 if c.is_ascii_alphanumeric() => out.push_str(&format!("({c}|xyz)")),
                3 if c.is_ascii_alphanumeric() => out.push_str(&format!("{c}+")),
                4 => out.push_str(".*"),
                5 if c.is_ascii_alphabetic() => out.push(c.to_ascii_uppercase()),
                _ if c.is_ascii_alphanumeric() => out.push(c),
                _ => out.push_str(&format!("\\x{b:02x}")),
            }
        }
        if out.is_empty() {
            out.push_str("a?");
        }
        let head = self.dice.word(&["", "", "^", ".*", "(a|)"]);
        let tail = self.dice.word(&["", "", "$", ".?", "(zzzzz)?"]);
        let flags = self.dice.word(&["", "i", "s", "is"]);
        format!("/{head}{out}{tail}/{flags}")
    }
}
