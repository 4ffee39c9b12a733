//! The engine's modules on their own, and what must happen before a sandbox.

use protobuf::Message;

use crate::compile::{Compiler, Options, MODULES_ACCEPTED};
use crate::ffi::{self, fail, Answer, Buffer, Code};
use crate::scan::Scanner;

fn modules(data: &[u8]) -> Answer<Vec<u8>> {
    yara_x::mods::invoke_all(data)
        .write_to_bytes()
        .or_else(|err| fail(Code::Scan, format!("serializing module outputs: {err}")))
}

/// Calls into every part that is set up on first use: libmagic's database, the
/// modules with functions, a pattern search, a regular expression, `vt` data.
const WARM_UP_CONDITION: &str = r#"
rule warm_up {
    strings:
        $a = "weir"
        $b = /w[a-e]ir{1,2}/
    condition:
        all of them and magic.type() != "" and magic.mime_type() != ""
        and math.entropy(0, filesize) >= 0.0 and hash.sha256(0, filesize) != ""
        and string.length("weir") == 4 and time.now() > 0
        and not pe.is_pe and not dotnet.is_dotnet and not lnk.is_lnk
        and not defined elf.type and not defined macho.magic
        and vt.metadata.file_size == 0 and file_name matches /^$/
}
"#;

/// The clock only has to start; this must never be what ends the scan.
const WARM_UP_SECONDS: u32 = 600;

fn warm_up() -> Answer<()> {
    let options = Options {
        entity: 0,
        retrohunt: false,
        refuse_slow: false,
        warnings_max: 0,
    };
    let mut compiler = Compiler::new(&options)?;
    let mut source = String::new();
    for module in MODULES_ACCEPTED {
        source.push_str(&format!("import \"{module}\"\n"));
    }
    source.push_str(WARM_UP_CONDITION);
    compiler.add("warm_up", source.as_bytes())?;
    let mut scanner = Scanner::new(compiler.build()?.share());
    scanner.set_timeout(WARM_UP_SECONDS);
    scanner.set_vt(&[])?;
    let mut hits = 0;
    scanner.scan(b"weir", 1, |_| hits += 1)?;
    if hits != 1 {
        return fail(Code::Scan, "the warm-up rule did not match");
    }
    modules(b"weir").map(|_| ())
}

#[no_mangle]
pub extern "C" fn engine_warm_up() -> Code {
    ffi::barrier(warm_up)
}

#[no_mangle]
pub unsafe extern "C" fn engine_modules(data: *const u8, len: usize, ret: *mut Buffer) -> Code {
    ffi::barrier(|| {
        ffi::check_place(ret)?;
        ffi::give(ret, Buffer::new(modules(ffi::bytes(data, len)?)?))
    })
}
