//! Sources to rules: options, messages, the compiler object.

use std::cell::Cell;
use std::collections::HashSet;
use std::ffi::c_char;

use yara_x::errors::CompileError;
use yara_x::warnings::Warning;

use crate::depth;
use crate::ffi::{self, fail, Answer, Buffer, Code};
use crate::json;
use crate::rules::Rules;

/// What VirusTotal accepts in Livehunt and Retrohunt.
pub const MODULES_ACCEPTED: [&str; 11] = [
    "pe", "elf", "dotnet", "lnk", "macho", "math", "magic", "hash", "string", "time", "vt",
];

/// `enum engine_entity`, in its order: the feature that unlocks `vt` fields.
const ENTITY_FEATURES: [&str; 4] = ["file", "url", "domain", "ip_address"];

/// VirusTotal's legacy external variables of file rulesets.
const EXTERNAL_STRINGS: [&str; 10] = [
    "file_name",
    "file_type",
    "imphash",
    "md5",
    "sha1",
    "sha256",
    "signatures",
    "ssdeep",
    "tags",
    "vhash",
];
const EXTERNAL_INTEGERS: [&str; 2] = ["positives", "submissions"];
const EXTERNAL_BOOLEANS: [&str; 1] = ["new_file"];

/// `struct engine_compile_options`.
#[repr(C)]
pub struct Options {
    pub entity: u32,
    pub retrohunt: bool,
    pub refuse_slow: bool,
    pub warnings_max: u32,
}

/// What one source added to the engine's lists of errors and warnings.
struct Source {
    ns: String,
    errors_end: usize,
    warnings_end: usize,
}

/// A rule that the engine left out without telling.
struct Dropped {
    ns: String,
    line: usize,
    column: usize,
}

pub struct Compiler {
    inner: Option<yara_x::Compiler<'static>>,
    sources: Vec<Source>,
    namespaces: HashSet<String>,
    dropped: Vec<Dropped>,
    failed: bool,
    deep: bool,
    broken: Cell<bool>,
}

const DROPPED_CODE: &str = "W001";
const DROPPED_TITLE: &str = "rule is nested too deeply";

impl Compiler {
    pub fn new(options: &Options) -> Answer<Self> {
        let Some(feature) = ENTITY_FEATURES.get(options.entity as usize) else {
            return fail(Code::Invalid, format!("unknown entity {}", options.entity));
        };
        let mut inner = yara_x::Compiler::new();
        inner
            .enable_feature(*feature)
            .enable_includes(false)
            .error_on_slow_pattern(options.refuse_slow)
            .error_on_slow_loop(options.refuse_slow)
            .max_warnings(options.warnings_max as usize);
        if options.retrohunt {
            inner.enable_feature("retrohunt");
        }
        for module in yara_x::mods::module_names() {
            if !MODULES_ACCEPTED.contains(&module) {
                inner.ban_module(
                    module,
                    format!("module `{module}` is not accepted"),
                    format!("only these modules are: {}", MODULES_ACCEPTED.join(", ")),
                );
            }
        }
        if *feature == "file" {
            define_externals(&mut inner).or_else(|err| fail(Code::Panic, err.to_string()))?;
        }
        Ok(Self {
            inner: Some(inner),
            sources: Vec::new(),
            namespaces: HashSet::new(),
            dropped: Vec::new(),
            failed: false,
            deep: false,
            broken: Cell::new(false),
        })
    }

    fn engine(&mut self) -> Answer<&mut yara_x::Compiler<'static>> {
        match self.inner.as_mut() {
            Some(inner) => Ok(inner),
            None => fail(Code::Invalid, "the compiler is used up"),
        }
    }

    pub fn add(&mut self, ns: &str, source: &[u8]) -> Answer<()> {
        self.engine()?;
        if ns.is_empty() {
            return fail(Code::Invalid, "the namespace is empty");
        }
        // Rules are told apart by namespace and name; the engine would open a
        // second namespace of the same name.
        if !self.namespaces.insert(ns.to_string()) {
            return fail(Code::Invalid, format!("namespace '{ns}' was added before"));
        }
        let utf8 = std::str::from_utf8(source).ok();
        let answer = if utf8.is_some_and(depth::may_be_deep) {
            self.deep = true;
            depth::on_large_stack(|| self.add_source(ns, source, utf8))
        } else {
            self.add_source(ns, source, None)
        };
        self.failed |= answer.is_err();
        answer
    }

    /// `deep`: the source once more if it must be looked at for dropped rules.
    fn add_source(&mut self, ns: &str, source: &[u8], deep: Option<&str>) -> Answer<()> {
        let inner = self.engine()?;
        inner.new_namespace(ns);
        let result = inner
            .add_source(source)
            .map(|_| ())
            .map_err(|err| err.title().to_string());
        let (errors_end, warnings_end) = (inner.errors().len(), inner.warnings().len());
        self.sources.push(Source {
            ns: ns.to_string(),
            errors_end,
            warnings_end,
        });
        if let Err(title) = result {
            return fail(Code::Compile, title);
        }
        if let Some((text, at)) = deep.and_then(|text| Some((text, depth::dropped_rule(text)?))) {
            let (line, column) = depth::position(text, at);
            self.dropped.push(Dropped {
                ns: ns.to_string(),
                line,
                column,
            });
            return fail(Code::Compile, DROPPED_TITLE);
        }
        Ok(())
    }

    pub fn build(&mut self) -> Answer<Rules> {
        self.engine()?;
        if self.failed {
            return fail(Code::Compile, "a source had errors");
        }
        let deep = self.deep;
        let inner = self.inner.take();
        let Some(inner) = inner else {
            return fail(Code::Invalid, "the compiler is used up");
        };
        let rules = if deep {
            depth::on_large_stack(|| Ok(inner.build()))?
        } else {
            inner.build()
        };
        Ok(Rules::new(rules))
    }

    fn messages(&self) -> Answer<String> {
        let Some(inner) = self.inner.as_ref() else {
            return fail(Code::Invalid, "the compiler is used up");
        };
        let mut out = String::from("[");
        for (i, err) in inner.errors().iter().enumerate() {
            let ns = self.source_of(i, |source| source.errors_end);
            message(&mut out, "error", ns, &Report::from(err));
        }
        for dropped in &self.dropped {
            dropped_message(&mut out, dropped);
        }
        for (i, warning) in inner.warnings().iter().enumerate() {
            let ns = self.source_of(i, |source| source.warnings_end);
            message(&mut out, "warning", ns, &Report::from(warning));
        }
        out.push(']');
        Ok(out)
    }

    /// The namespace whose source brought the i-th message of a list.
    fn source_of(&self, i: usize, end: impl Fn(&Source) -> usize) -> &str {
        let at = self.sources.partition_point(|source| end(source) <= i);
        self.sources.get(at).map_or("", |source| &source.ns)
    }
}

fn define_externals(inner: &mut yara_x::Compiler) -> Result<(), yara_x::errors::VariableError> {
    for ident in EXTERNAL_STRINGS {
        inner.define_global(ident, "")?;
    }
    for ident in EXTERNAL_INTEGERS {
        inner.define_global(ident, 0i64)?;
    }
    for ident in EXTERNAL_BOOLEANS {
        inner.define_global(ident, false)?;
    }
    Ok(())
}

/// What errors and warnings have in common.
struct Report<'a> {
    code: &'a str,
    title: &'a str,
    text: String,
}

impl<'a> From<&'a CompileError> for Report<'a> {
    fn from(err: &'a CompileError) -> Self {
        Self {
            code: err.code(),
            title: err.title(),
            text: err.to_string(),
        }
    }
}

impl<'a> From<&'a Warning> for Report<'a> {
    fn from(warning: &'a Warning) -> Self {
        Self {
            code: warning.code(),
            title: warning.title(),
            text: warning.to_string(),
        }
    }
}

/// Line and column as the report shows them (` --> line:4:17`); the crate gives
/// its labels only byte offsets in public.
fn shown_position(text: &str) -> Option<(usize, usize)> {
    let place = text
        .lines()
        .find_map(|line| line.trim_start().strip_prefix("--> line:"))?;
    let (line, column) = place.split_once(':')?;
    Some((line.parse().ok()?, column.parse().ok()?))
}

fn message(out: &mut String, level: &str, ns: &str, report: &Report) {
    let (line, column) = shown_position(&report.text).unwrap_or((1, 1));
    message_parts(
        out,
        level,
        ns,
        report.code,
        report.title,
        (line, column),
        &report.text,
    );
}

fn dropped_message(out: &mut String, dropped: &Dropped) {
    let text = format!(
        "error[{DROPPED_CODE}]: {DROPPED_TITLE}\n --> line:{}:{}\n  = note: at most 3,000 levels of the syntax tree are accepted",
        dropped.line, dropped.column
    );
    let place = (dropped.line, dropped.column);
    message_parts(
        out,
        "error",
        &dropped.ns,
        DROPPED_CODE,
        DROPPED_TITLE,
        place,
        &text,
    );
}

fn message_parts(
    out: &mut String,
    level: &str,
    ns: &str,
    code: &str,
    title: &str,
    place: (usize, usize),
    text: &str,
) {
    if out.len() > 1 {
        out.push(',');
    }
    out.push('{');
    json::member(out, "level", level);
    json::member(out, "code", code);
    json::member(out, "title", title);
    json::member_number(out, "line", place.0);
    json::member_number(out, "column", place.1);
    json::member(out, "namespace", ns);
    json::member(out, "text", text);
    out.push('}');
}

impl ffi::Fragile for Compiler {
    fn broken(&self) -> &Cell<bool> {
        &self.broken
    }
}

#[no_mangle]
pub unsafe extern "C" fn engine_compiler_new(
    options: *const Options,
    ret: *mut *mut Compiler,
) -> Code {
    ffi::barrier(|| ffi::give_box(ret, Compiler::new(ffi::object(options)?)?))
}

#[no_mangle]
pub unsafe extern "C" fn engine_compiler_free(compiler: *mut Compiler) {
    ffi::free(compiler);
}

#[no_mangle]
pub unsafe extern "C" fn engine_compiler_add(
    compiler: *mut Compiler,
    ns: *const c_char,
    ns_len: usize,
    source: *const c_char,
    source_len: usize,
) -> Code {
    ffi::call(compiler, |c| {
        c.add(
            ffi::text(ns, ns_len, "namespace")?,
            ffi::bytes(source.cast(), source_len)?,
        )
    })
}

#[no_mangle]
pub unsafe extern "C" fn engine_compiler_messages(
    compiler: *const Compiler,
    ret: *mut Buffer,
) -> Code {
    ffi::call(compiler.cast_mut(), |c| {
        ffi::check_place(ret)?;
        ffi::give(ret, Buffer::new(c.messages()?.into_bytes()))
    })
}

#[no_mangle]
pub unsafe extern "C" fn engine_compiler_build(
    compiler: *mut Compiler,
    ret: *mut *mut Rules,
) -> Code {
    ffi::call(compiler, |c| {
        ffi::check_place(ret)?;
        ffi::give_box(ret, c.build()?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_from_reports() {
        assert_eq!(
            shown_position("error[E001]: x\n  --> line:12:3\n"),
            Some((12, 3))
        );
        assert_eq!(shown_position("error: nothing"), None);
        assert_eq!(shown_position("--> line:x:3"), None);
    }
}
