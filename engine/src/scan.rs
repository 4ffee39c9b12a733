//! Scanning: one scanner per thread, hits in rule indexes.

use std::cell::Cell;
use std::ffi::{c_char, c_void};
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::time::Duration;

use yara_x::{ScanError, Variable};

use crate::ffi::{self, fail, Answer, Code};
use crate::rules::{Rules, SharedRules};

/// ENGINE_MATCHES_PER_PATTERN of engine.h.
pub const MATCHES_PER_PATTERN: usize = 100_000;

/// What "no limit" is once a limit was set: the engine caps it at ten years.
const TIMEOUT_NONE: Duration = Duration::from_secs(u32::MAX as u64);

/// `struct engine_match`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Match {
    offset: u64,
    len: u64,
}

/// `struct engine_hit`.
#[repr(C)]
pub struct Hit {
    rule_index: u32,
    matches: *const Match,
    match_count: usize,
    matches_cut: bool,
}

type EachHit = unsafe extern "C" fn(*const Hit, *mut c_void);

pub struct Scanner {
    /// Borrows from `rules`, so it is dropped first (see Drop).
    inner: ManuallyDrop<yara_x::Scanner<'static>>,
    rules: Arc<SharedRules>,
    has_timeout: bool,
    /// Room for the indexes of a scan's hits and one hit's matches, kept
    /// between scans.
    indexes: Vec<u32>,
    matches: Vec<Match>,
    broken: Cell<bool>,
}

impl Drop for Scanner {
    fn drop(&mut self) {
        // SAFETY: dropped once, here, while the rules are still alive.
        unsafe { ManuallyDrop::drop(&mut self.inner) };
    }
}

impl ffi::Fragile for Scanner {
    fn broken(&self) -> &Cell<bool> {
        &self.broken
    }
}

impl Scanner {
    pub fn new(rules: Arc<SharedRules>) -> Self {
        // SAFETY: the rules live in the Arc, which this object holds longer
        // than the scanner that borrows them.
        let borrowed: &'static yara_x::Rules = unsafe { &*std::ptr::from_ref(&rules.inner) };
        let mut inner = yara_x::Scanner::new(borrowed);
        inner.max_matches_per_pattern(MATCHES_PER_PATTERN);
        Self {
            inner: ManuallyDrop::new(inner),
            rules,
            has_timeout: false,
            indexes: Vec::new(),
            matches: Vec::new(),
            broken: Cell::new(false),
        }
    }

    pub fn set_timeout(&mut self, seconds: u32) {
        if seconds > 0 {
            self.inner.set_timeout(Duration::from_secs(seconds.into()));
            self.has_timeout = true;
        } else if self.has_timeout {
            self.inner.set_timeout(TIMEOUT_NONE);
        }
    }

    pub fn set_vt(&mut self, data: &[u8]) -> Answer<()> {
        match self.inner.set_module_output_raw("vt", data) {
            Ok(_) => Ok(()),
            Err(err) => fail(Code::Invalid, err.to_string()),
        }
    }

    fn set_global<T: TryInto<Variable>>(&mut self, name: &str, value: T) -> Answer<()>
    where
        yara_x::errors::VariableError: From<<T as TryInto<Variable>>::Error>,
    {
        match self.inner.set_global(name, value) {
            Ok(_) => Ok(()),
            Err(err) => fail(Code::Invalid, err.to_string()),
        }
    }

    pub fn scan(
        &mut self,
        data: &[u8],
        matches_max: usize,
        mut each: impl FnMut(&Hit),
    ) -> Answer<()> {
        let results = match self.inner.scan(data) {
            Ok(results) => results,
            Err(ScanError::Timeout) => return fail(Code::Timeout, "the scan took too long"),
            Err(err) => {
                // Module outputs of this scan may be left for the next one.
                self.broken.set(true);
                return fail(Code::Scan, err.to_string());
            }
        };
        // All indexes before the first callback: nothing fails after it.
        self.indexes.clear();
        for rule in results.matching_rules() {
            match self.rules.index_of(&rule) {
                Some(index) => self.indexes.push(index),
                None => return fail(Code::Scan, "a rule matched that is not in the set"),
            }
        }
        for (rule, rule_index) in results.matching_rules().zip(self.indexes.iter()) {
            let matches_cut = collect_matches(&rule, matches_max, &mut self.matches);
            each(&Hit {
                rule_index: *rule_index,
                matches: self.matches.as_ptr(),
                match_count: self.matches.len(),
                matches_cut,
            });
        }
        Ok(())
    }
}

/// The lowest `max` matches of a rule's patterns; true if there were more. Two
/// patterns that match the same bytes make one match.
fn collect_matches(rule: &yara_x::Rule, max: usize, out: &mut Vec<Match>) -> bool {
    out.clear();
    for pattern in rule.patterns() {
        // Ascending by offset, each offset once: one more than `max` is enough
        // to know whether something is cut off.
        out.extend(pattern.matches().take(max.saturating_add(1)).map(|m| {
            let range = m.range();
            Match {
                offset: range.start as u64,
                len: (range.end - range.start) as u64,
            }
        }));
    }
    out.sort_unstable();
    out.dedup();
    let cut = out.len() > max;
    out.truncate(max);
    cut
}

#[no_mangle]
pub unsafe extern "C" fn engine_scanner_new(rules: *const Rules, ret: *mut *mut Scanner) -> Code {
    ffi::barrier(|| {
        ffi::check_place(ret)?;
        ffi::give_box(ret, Scanner::new(ffi::object(rules)?.share()))
    })
}

#[no_mangle]
pub unsafe extern "C" fn engine_scanner_free(scanner: *mut Scanner) {
    ffi::free(scanner);
}

#[no_mangle]
pub unsafe extern "C" fn engine_scanner_set_timeout(scanner: *mut Scanner, seconds: u32) -> Code {
    ffi::call(scanner, |s| {
        s.set_timeout(seconds);
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn engine_scanner_set_vt(
    scanner: *mut Scanner,
    data: *const u8,
    len: usize,
) -> Code {
    ffi::call(scanner, |s| s.set_vt(ffi::bytes(data, len)?))
}

#[no_mangle]
pub unsafe extern "C" fn engine_scanner_set_str(
    scanner: *mut Scanner,
    name: *const c_char,
    value: *const c_char,
    value_len: usize,
) -> Code {
    ffi::call(scanner, |s| {
        s.set_global(ffi::name(name)?, ffi::text(value, value_len, "value")?)
    })
}

#[no_mangle]
pub unsafe extern "C" fn engine_scanner_set_int(
    scanner: *mut Scanner,
    name: *const c_char,
    value: i64,
) -> Code {
    ffi::call(scanner, |s| s.set_global(ffi::name(name)?, value))
}

#[no_mangle]
pub unsafe extern "C" fn engine_scanner_set_bool(
    scanner: *mut Scanner,
    name: *const c_char,
    value: bool,
) -> Code {
    ffi::call(scanner, |s| s.set_global(ffi::name(name)?, value))
}

#[no_mangle]
pub unsafe extern "C" fn engine_scanner_scan(
    scanner: *mut Scanner,
    data: *const u8,
    len: usize,
    matches_max: usize,
    each: Option<EachHit>,
    arg: *mut c_void,
) -> Code {
    ffi::call(scanner, |s| {
        let Some(each) = each else {
            return fail(Code::Invalid, "the callback is NULL");
        };
        s.scan(ffi::bytes(data, len)?, matches_max, |hit| each(hit, arg))
    })
}
