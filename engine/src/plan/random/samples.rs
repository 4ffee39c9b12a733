//! Random files that the engine's modules read: what they name comes from few words,
//! so that rules and samples meet.

use super::{widened, Dice};

/// Names of all kinds; some fold into ASCII only as Unicode does.
pub const WORDS: &[&str] = &[
    "KERNEL32.dll",
    "Kernel32.DLL",
    "\u{212a}ernel32.dll",
    "evil.pdb",
    "C:\\Kit\\evil.pdb",
    "\u{130}stanbul-Kit",
    "istanbul-kit",
    "Компания «Ромашка»",
    "éVÉNEMENT",
    "straße.exe",
    "ΑΣ.dll",
    "ΟΔΟΣ.Sys",
    ".text",
    ".UPX0",
    ".rsrc",
    "F",
    "abc",
    "LoadLibraryA",
    "GetProcAddress",
    "line one\nline two",
    "aaaaaaaabaaa",
];

fn word(dice: &mut Dice) -> &'static str {
    WORDS[dice.below(WORDS.len())]
}

/// A name as the tables of programs take them.
fn plain(dice: &mut Dice) -> &'static str {
    loop {
        let word = word(dice);
        if word.bytes().all(|b| b.is_ascii_graphic()) {
            return word;
        }
    }
}

fn put(data: &mut [u8], at: usize, bytes: &[u8]) {
    data[at..at + bytes.len()].copy_from_slice(bytes);
}

fn le32(out: &mut Vec<u8>, values: &[u32]) {
    for value in values {
        out.extend(value.to_le_bytes());
    }
}

fn le16(out: &mut Vec<u8>, values: &[u16]) {
    for value in values {
        out.extend(value.to_le_bytes());
    }
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn align(out: &mut Vec<u8>, to: usize) {
    out.resize(out.len().next_multiple_of(to), 0);
}

const PE_HEADERS: usize = 0x400;
const PE_RVA: u32 = 0x1000;

/// What a section holds; all places in it are relative to PE_RVA.
#[derive(Default)]
struct Body(Vec<u8>);

impl Body {
    fn here(&self) -> u32 {
        PE_RVA + self.0.len() as u32
    }

    fn push(&mut self, bytes: &[u8]) -> u32 {
        align(&mut self.0, 4);
        let at = self.here();
        self.0.extend(bytes);
        at
    }

    fn words(&mut self, values: &[u32]) -> u32 {
        align(&mut self.0, 4);
        let at = self.here();
        le32(&mut self.0, values);
        at
    }

    fn name(&mut self, name: &str) -> u32 {
        self.push(&[name.as_bytes(), b"\0"].concat())
    }
}

/// Names and ordinals of one library; the place of its table.
fn thunks(dice: &mut Dice, body: &mut Body, is_64: bool) -> u32 {
    let mut table = Vec::new();
    for _ in 0..1 + dice.below(3) {
        let thunk = if dice.one_in(4) {
            1 + dice.below(4) as u64 | if is_64 { 1 << 63 } else { 1 << 31 }
        } else {
            let hint = [b"\0\0", plain(dice).as_bytes(), b"\0"].concat();
            u64::from(body.push(&hint))
        };
        table.push(thunk);
    }
    table.push(0);
    let mut bytes = Vec::new();
    for thunk in table {
        bytes.extend(&thunk.to_le_bytes()[..if is_64 { 8 } else { 4 }]);
    }
    body.push(&bytes)
}

fn imports(dice: &mut Dice, body: &mut Body, is_64: bool, delayed: bool) -> (u32, u32) {
    let mut table = Vec::new();
    for _ in 0..1 + dice.below(3) {
        let names = thunks(dice, body, is_64);
        let library = word(dice);
        let library = body.name(library);
        if delayed {
            table.extend([1, library, 0, names, names, 0, 0, 0]);
        } else {
            table.extend([names, 0, 0, library, names]);
        }
    }
    table.extend([0; 8]);
    (body.words(&table), 4 * table.len() as u32)
}

fn exports(dice: &mut Dice, body: &mut Body) -> (u32, u32) {
    let n = 1 + dice.below(3) as u32;
    let names: Vec<u32> = (0..n)
        .map(|_| {
            let name = word(dice);
            body.name(name)
        })
        .collect();
    let names = body.words(&names);
    let functions = body.words(&vec![PE_RVA; n as usize + 1]);
    let mut ordinals = Vec::new();
    le16(&mut ordinals, &(0..n as u16).collect::<Vec<_>>());
    let ordinals = body.push(&ordinals);
    let own = word(dice);
    let own = body.name(own);
    let row = [0, 77, 0, own, 1, n + 1, n, functions, names, ordinals];
    (body.words(&row), 40)
}

fn debug(dice: &mut Dice, body: &mut Body) -> (u32, u32) {
    let path = word(dice);
    let info = [b"RSDS", &[7; 20][..], path.as_bytes(), b"\0"].concat();
    let at = body.push(&info);
    let offset = at - PE_RVA + PE_HEADERS as u32;
    (body.words(&[0, 0, 0, 2, info.len() as u32, at, offset]), 28)
}

fn version_node(key: &str, value: &[u8], is_text: bool, inner: &[u8]) -> Vec<u8> {
    let mut rest = utf16(key);
    rest.extend([0, 0]);
    rest.resize((6 + rest.len()).next_multiple_of(4) - 6, 0);
    rest.extend(value);
    align(&mut rest, 2);
    rest.resize((6 + rest.len()).next_multiple_of(4) - 6, 0);
    rest.extend(inner);
    let mut node = Vec::new();
    let len = if is_text {
        value.len() / 2
    } else {
        value.len()
    };
    le16(
        &mut node,
        &[6 + rest.len() as u16, len as u16, is_text.into()],
    );
    node.extend(rest);
    align(&mut node, 4);
    node
}

pub const VERSION_KEYS: &[&str] = &["CompanyName", "InternalName", "İKey"];

fn version(dice: &mut Dice) -> Vec<u8> {
    let mut strings = Vec::new();
    for key in VERSION_KEYS {
        if dice.one_in(4) {
            continue;
        }
        let mut value = utf16(word(dice));
        value.extend([0, 0]);
        strings.extend(version_node(key, &value, true, b""));
    }
    let table = version_node("040904b0", b"", true, &strings);
    let info = version_node("StringFileInfo", b"", true, &table);
    version_node("VS_VERSION_INFO", &[0; 52], false, &info)
}

/// A version and another resource that has a name; at the beginning of the section.
fn resources(dice: &mut Dice, body: &mut Body) -> (u32, u32) {
    align(&mut body.0, 4);
    let base = body.here();
    let language = *dice.pick(&[0x409u32, 0x419, 0, 0x7f]);
    let version = version(dice);
    let name = utf16(word(dice));
    const SUB: u32 = 1 << 31;
    // Directories of 16 bytes, entries of 8; leaves, the name, the version.
    let (second, third, leaves) = (32, 32 + 32, 32 + 32 + 48);
    let name_at = leaves + 32;
    let data_at = (name_at + 2 + name.len() as u32).next_multiple_of(4);
    let mut out = Vec::new();
    let directory = |out: &mut Vec<u8>, named: u32, ids: u32| {
        le32(out, &[0, 99, 0, named | ids << 16]);
    };
    directory(&mut out, 0, 2);
    le32(&mut out, &[10, SUB | second, 16, SUB | (second + 24)]);
    // Of type 10, then of type 16 (a version): one each, then its language.
    directory(&mut out, 1, 0);
    le32(&mut out, &[SUB | name_at, SUB | third]);
    directory(&mut out, 0, 1);
    le32(&mut out, &[1, SUB | (third + 24)]);
    out.resize(third as usize, 0);
    for leaf in 0..2 {
        directory(&mut out, 0, 1);
        le32(&mut out, &[language + leaf, leaves + 16 * leaf]);
    }
    out.resize(leaves as usize, 0);
    le32(&mut out, &[base + data_at, 4, 0, 0]);
    le32(&mut out, &[base + data_at, version.len() as u32, 0, 0]);
    le16(&mut out, &[name.len() as u16 / 2]);
    out.extend(&name);
    out.resize(data_at as usize, 0);
    out.extend(&version);
    (body.push(&out), out.len() as u32)
}

/// CLI header and metadata with names.
fn dotnet(dice: &mut Dice, body: &mut Body) -> (u32, u32) {
    let module = word(dice);
    let mut strings = [b"\0", module.as_bytes(), b"\0"].concat();
    let assembly = strings.len() as u16;
    strings.extend([word(dice).as_bytes(), b"\0"].concat());
    align(&mut strings, 4);
    // Tables: Module, ModuleRef, AssemblyRef.
    let mut tables = Vec::new();
    le32(&mut tables, &[0]);
    tables.extend([2, 0, 0, 1]);
    let present: u64 = 1 | 1 << 26 | 1 << 35;
    tables.extend(present.to_le_bytes());
    tables.extend([0; 8]);
    le32(&mut tables, &[1, 1, 1]);
    le16(&mut tables, &[0, 1, 1, 0, 0]);
    le16(&mut tables, &[assembly]);
    le16(&mut tables, &[4, 0, 0, 0, 0, 0, 0, assembly, 0, 0]);
    align(&mut tables, 4);
    let streams: [(&[u8], Vec<u8>); 3] = [
        (b"#~\0\0", tables),
        (b"#Strings\0\0\0\0", strings),
        (b"#GUID\0\0\0", vec![dice.below(2) as u8; 16]),
    ];
    let mut head = Vec::from(b"BSJB");
    le16(&mut head, &[1, 1]);
    le32(&mut head, &[0, 12]);
    head.extend(b"v4.0.30319\0\0");
    le16(&mut head, &[0, streams.len() as u16]);
    let heads: usize = streams.iter().map(|(name, _)| 8 + name.len()).sum();
    let mut at = head.len() + heads;
    let mut data = Vec::new();
    for (name, content) in streams {
        le32(&mut head, &[at as u32, content.len() as u32]);
        head.extend(name);
        at += content.len();
        data.extend(content);
    }
    head.extend(data);
    let metadata = body.push(&head);
    let mut cli = vec![72, 2 | 5 << 16, metadata, head.len() as u32, 3, 0x0600_0001];
    cli.resize(18, 0);
    (body.words(&cli), 72)
}

/// A program for Windows of some sections, with what it imports and exports, texts
/// about itself, resources, or none of it.
pub fn pe(dice: &mut Dice) -> Vec<u8> {
    let is_64 = dice.one_in(2);
    let mut body = Body::default();
    body.push(b"\x55\x8b\xec\x83\xec\x10\x53\x56\x57\xe8\0\0\0\0\x5b\xc3abcdefghijklmnopqrstu");
    let mut directories = [(0, 0); 16];
    let makers: [(usize, &dyn Fn(&mut Dice, &mut Body) -> (u32, u32)); 6] = [
        (0, &exports),
        (1, &|dice, body| imports(dice, body, is_64, false)),
        (2, &resources),
        (6, &debug),
        (13, &|dice, body| imports(dice, body, is_64, true)),
        (14, &dotnet),
    ];
    for (directory, make) in makers {
        if !dice.one_in(3) {
            directories[directory] = make(dice, &mut body);
        }
    }
    let n = dice.below(90);
    body.0.extend(dice.bytes(n));
    align(&mut body.0, 0x200);
    let sections = 1 + dice.below(3) as u16;
    let optional: usize = if is_64 { 240 } else { 224 };
    let mut data = vec![0; PE_HEADERS];
    put(&mut data, 0, b"MZ");
    put(&mut data, 0x3c, &0x40u32.to_le_bytes());
    let machine: u16 = if is_64 { 0x8664 } else { 0x14c };
    let mut head = Vec::from(b"PE\0\0");
    le16(&mut head, &[machine, sections]);
    let stamp = *dice.pick(&[0u32, 0x5f00_0000, u32::MAX]);
    le32(&mut head, &[stamp, 0, 0]);
    let flags = *dice.pick(&[0x102u16, 0x2102, 0x22]);
    le16(&mut head, &[optional as u16, flags]);
    let optional_at = 0x40 + head.len();
    let size = body.0.len() as u32;
    le16(&mut head, &[if is_64 { 0x20b } else { 0x10b }, 14]);
    let entry = PE_RVA + *dice.pick(&[0u32, 4, 0x5000]);
    le32(&mut head, &[size, 0, 0, entry, PE_RVA]);
    if is_64 {
        head.extend(0x1_4000_0000u64.to_le_bytes());
    } else {
        le32(&mut head, &[0x2000, 0x40_0000]);
    }
    le32(&mut head, &[0x1000, 0x200]);
    le16(&mut head, &[6, 1, 0, 0, 6, 1]);
    le32(&mut head, &[0, 0x8000, PE_HEADERS as u32, 0]);
    le16(&mut head, &[*dice.pick(&[1u16, 2, 3]), 0x8160]);
    head.resize(head.len() + if is_64 { 32 } else { 16 }, 0);
    le32(&mut head, &[0, 16]);
    for (at, bytes) in directories {
        le32(&mut head, &[at, bytes]);
    }
    assert_eq!(0x40 + head.len(), optional_at + optional);
    for i in 0..sections {
        let mut name = word(dice).as_bytes().to_vec();
        name.resize(8, 0);
        head.extend(name);
        let (rva, bytes, at) = match i {
            0 => (PE_RVA, size, PE_HEADERS as u32),
            i => (0x4000 + 0x1000 * u32::from(i), 0, 0),
        };
        le32(&mut head, &[size.max(1), rva, bytes, at, 0, 0, 0]);
        le32(&mut head, &[*dice.pick(&[0x6000_0020u32, 0x4000_0040])]);
    }
    put(&mut data, 0x40, &head);
    data.extend(&body.0);
    if dice.one_in(3) {
        let n = dice.below(20);
        data.extend(dice.bytes(n));
    }
    if dice.one_in(8) {
        data.truncate(dice.below(data.len()));
    }
    data
}

const ELF_MACHINES: &[u16] = &[3, 39, 39, 62, 40, 0xffff];

pub fn elf(dice: &mut Dice) -> Vec<u8> {
    let mut names = vec![0u8];
    let mut places = Vec::new();
    for _ in 0..1 + dice.below(3) {
        places.push(names.len() as u32);
        names.extend(word(dice).as_bytes());
        names.push(0);
    }
    let mut data = Vec::from(b"\x7fELF\x02\x01\x01");
    data.extend([*dice.pick(&[0u8, 3, 9])]);
    data.resize(16, 0);
    let kind = *dice.pick(&[2u16, 3, 1, 4]);
    le16(&mut data, &[kind, *dice.pick(ELF_MACHINES)]);
    le32(&mut data, &[1]);
    let code = 64 + 56u64;
    let names_at = code + 48;
    let sections_at = (names_at + names.len() as u64).next_multiple_of(8);
    let entry = 0x40_0000 + code + *dice.pick(&[0u64, 3, 0x9000]);
    for value in [entry, 64, sections_at] {
        data.extend(value.to_le_bytes());
    }
    le32(&mut data, &[0]);
    let count = 1 + places.len() as u16;
    le16(&mut data, &[64, 56, 1, 64, count, 0]);
    le32(&mut data, &[1, 5]);
    for value in [0, 0x40_0000, 0x40_0000, 0x1000, 0x1000, 0x1000u64] {
        data.extend(value.to_le_bytes());
    }
    data.extend(
        b"\x31\xed\x49\x89\xd1\x5e\x48\x89\xe2\x48\x83\xe4\xf0\x50\x54abcdefghijklmnopqrstuvwxyz",
    );
    data.resize(names_at as usize, 0);
    data.extend(&names);
    data.resize(sections_at as usize, 0);
    // The first holds the names.
    for (i, name) in [0].iter().chain(&places).enumerate() {
        le32(&mut data, &[*name, if i == 0 { 3 } else { 1 }]);
        let (at, size) = if i == 0 {
            (names_at, names.len() as u64)
        } else {
            (code, 16 + dice.below(3) as u64)
        };
        for value in [0, 0x40_0000 + at, at, size, 0, 1, 0] {
            data.extend(value.to_le_bytes());
        }
    }
    data
}

pub fn lnk(dice: &mut Dice) -> Vec<u8> {
    let texts: Vec<Option<&str>> = (0..5)
        .map(|_| (!dice.one_in(3)).then(|| word(dice)))
        .collect();
    let mut flags = 0x80u32;
    for (i, text) in texts.iter().enumerate() {
        flags |= u32::from(text.is_some()) << (2 + i);
    }
    let mut data = Vec::new();
    le32(&mut data, &[0x4c, 0x0002_1401, 0, 0xc0, 0x4600_0000]);
    put(&mut data, 12, &[0xc0, 0, 0, 0, 0, 0, 0, 0x46]);
    le32(&mut data, &[flags, 0x20]);
    for _ in 0..3 {
        let ticks = *dice.pick(&[0u64, 132_000_000_000_000_000]);
        data.extend(ticks.to_le_bytes());
    }
    let icon = *dice.pick(&[0u32, 3, u32::MAX]);
    le32(&mut data, &[1234, icon, 1, 0, 0, 0]);
    data.truncate(0x4c);
    for text in texts.into_iter().flatten() {
        let text = utf16(text);
        le16(&mut data, &[text.len() as u16 / 2]);
        data.extend(text);
    }
    // A tracker block, and what ends them.
    let machine = plain(dice);
    let mut tracker = Vec::new();
    le32(&mut tracker, &[0x60, 0xa000_0003, 0x58, 0]);
    tracker.extend(&machine.as_bytes()[..machine.len().min(15)]);
    tracker.resize(32, 0);
    tracker.resize(0x60, 5);
    data.extend(tracker);
    le32(&mut data, &[0]);
    let n = dice.below(9);
    data.extend(dice.bytes(n));
    data
}

pub fn macho(dice: &mut Dice) -> Vec<u8> {
    let mut commands = Vec::new();
    let mut count = 2;
    le32(&mut commands, &[0x19, 72]);
    commands.extend(
        dice.pick(&[b"__TEXT\0\0\0\0\0\0\0\0\0\0", b"__DATA\0\0\0\0\0\0\0\0\0\0"])
            .iter(),
    );
    for value in [0x1_0000_0000u64, 0x1000, 0, 0x1000] {
        commands.extend(value.to_le_bytes());
    }
    le32(&mut commands, &[7, 5, 0, 0]);
    le32(&mut commands, &[0x1b, 24]);
    commands.extend([dice.below(3) as u8; 16]);
    for _ in 0..dice.below(4) {
        let is_path = dice.one_in(3);
        let head: &[u32] = if is_path { &[12] } else { &[24, 0, 0, 0] };
        let mut name = word(dice).as_bytes().to_vec();
        name.push(0);
        align(&mut name, 8);
        if is_path {
            name.resize(name.len() + 4, 0);
        }
        let kind = if is_path { 0x8000_001c } else { 0xc };
        let size = 8 + 4 * head.len() as u32 + name.len() as u32;
        le32(&mut commands, &[kind, size]);
        le32(&mut commands, head);
        commands.extend(name);
        count += 1;
    }
    let mut data = Vec::new();
    let cpu = *dice.pick(&[0x0100_0007u32, 0x0100_000c, 7]);
    let size = commands.len() as u32;
    le32(&mut data, &[0xfeed_facf, cpu, 3]);
    le32(
        &mut data,
        &[*dice.pick(&[2u32, 6]), count, size, 0x20_0085, 0],
    );
    data.extend(commands);
    if dice.one_in(3) {
        // Inside a fat one.
        let mut fat = Vec::new();
        for value in [0xcafe_babe_u32, 1, cpu, 3, 32, data.len() as u32, 3, 0] {
            fat.extend(value.to_be_bytes());
        }
        fat.extend(data);
        return fat;
    }
    data
}

/// Bytes that patterns may match in something else.
pub fn planted(dice: &mut Dice, matching: &[Vec<u8>]) -> Vec<u8> {
    let n = dice.below(40);
    let mut data = dice.bytes(n);
    for _ in 0..dice.below(6) {
        if dice.one_in(4) {
            data.extend(dice.pick(&[&b"MZ"[..], b"\0\0", b" ", b"="]).iter());
        }
        let piece = dice.pick(matching);
        let at = if dice.one_in(3) {
            0
        } else {
            dice.below(data.len() + 1)
        };
        let tail = data.split_off(at);
        data.extend(piece);
        data.extend(tail);
        let n = dice.below(4);
        data.extend(dice.bytes(n));
    }
    data
}

/// A file of a known kind, with some of the bytes behind it.
pub fn file(dice: &mut Dice, matching: &[Vec<u8>]) -> Vec<u8> {
    let mut data = match dice.below(10) {
        0..=4 => pe(dice),
        5 | 6 => elf(dice),
        7 => lnk(dice),
        8 => macho(dice),
        _ => dice
            .pick(&[&b"MZ"[..], b"\x7fELF\x02\x01", b"MZ\x90\0\x03\0\0\0", b""])
            .to_vec(),
    };
    if dice.one_in(2) {
        let wide = dice.one_in(4);
        let piece = word(dice).as_bytes().to_vec();
        data.extend(if wide { widened(&piece) } else { piece });
    }
    data.extend(planted(dice, matching));
    data
}
