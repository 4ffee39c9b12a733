//! The border to C: result codes, the panic barrier, the text of the last
//! error, and what C hands in or gets back.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::ffi::{c_char, CStr, CString};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Once;

/// `enum engine_result` of engine.h, by value.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    Ok = 0,
    Invalid = 1,
    Compile = 2,
    Timeout = 3,
    Scan = 4,
    Format = 5,
    Panic = 6,
}

/// Why a call fails: its code, and the text of `engine_last_error`.
#[derive(Debug)]
pub struct Failure {
    pub code: Code,
    pub text: String,
}

pub type Answer<T> = Result<T, Failure>;

pub fn fail<T>(code: Code, text: impl Into<String>) -> Answer<T> {
    Err(Failure {
        code,
        text: text.into(),
    })
}

thread_local! {
    static LAST_ERROR: RefCell<CString> = RefCell::default();
    /// What the panic hook saw on this thread, until the barrier takes it.
    static PANIC_TEXT: Cell<Option<String>> = const { Cell::new(None) };
}

/// A panic may quote a whole regular expression; this much says which.
const PANIC_TEXT_BYTES_MAX: usize = 400;

/// Panics are answers here, so the hook prints nothing: it keeps the text for
/// `caught`, which runs on the same thread right after.
fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|info| {
            let mut text = payload_text(info.payload());
            if text.len() > PANIC_TEXT_BYTES_MAX {
                let end = (0..=PANIC_TEXT_BYTES_MAX).rfind(|i| text.is_char_boundary(*i));
                text.truncate(end.unwrap_or(0));
                text.push('…');
            }
            if let Some(at) = info.location() {
                // The file within its crate; where crates lie is nobody's business.
                let file = at.file();
                let file = file.rsplit_once("/registry/src/").map_or(file, |(_, f)| f);
                text.push_str(&format!(" ({file}:{})", at.line()));
            }
            #[cfg(test)]
            println!("{text}");
            PANIC_TEXT.with(|cell| cell.set(Some(text)));
        }));
    });
}

fn payload_text(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_string()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "unknown panic".to_string()
    }
}

/// Run `f`; a panic in it becomes a `Failure`.
pub fn caught<T>(f: impl FnOnce() -> Answer<T>) -> Answer<T> {
    install_hook();
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(answer) => answer,
        Err(payload) => {
            let text = PANIC_TEXT
                .with(Cell::take)
                .unwrap_or_else(|| payload_text(payload.as_ref()));
            // Dropping a payload may panic in turn; that one is let go.
            if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
                std::mem::forget(second);
            }
            fail(Code::Panic, format!("panic in the engine: {text}"))
        }
    }
}

fn remember(text: String) {
    let clean = CString::new(text.replace('\0', "\u{fffd}")).unwrap_or_default();
    LAST_ERROR.with(|cell| *cell.borrow_mut() = clean);
}

/// The body of every exported function that can fail.
pub fn barrier(f: impl FnOnce() -> Answer<()>) -> Code {
    match caught(f) {
        Ok(()) => Code::Ok,
        Err(failure) => {
            remember(failure.text);
            failure.code
        }
    }
}

/// An object that a panic may leave in an unknown state.
pub trait Fragile {
    fn broken(&self) -> &Cell<bool>;
}

/// The barrier for a call on such an object: after a panic it answers nothing
/// but `Panic`.
///
/// # Safety
/// `p` is NULL or came from `Box::into_raw`, was not freed, and no other call
/// is running on it.
pub unsafe fn call<T: Fragile>(p: *mut T, f: impl FnOnce(&mut T) -> Answer<()>) -> Code {
    let Some(object) = p.as_mut() else {
        return barrier(|| fail(Code::Invalid, "the object is NULL"));
    };
    if object.broken().get() {
        remember("an earlier call left this object unusable; free it".into());
        return Code::Panic;
    }
    let code = barrier(|| f(object));
    if code == Code::Panic {
        object.broken().set(true);
    }
    code
}

/// A reference to a shared object behind a handle from C.
///
/// # Safety
/// `p` is NULL or came from `give_box` and was not freed.
pub unsafe fn object<'a, T>(p: *const T) -> Answer<&'a T> {
    match p.as_ref() {
        Some(object) => Ok(object),
        None => fail(Code::Invalid, "the object is NULL"),
    }
}

/// Bytes from C; NULL is fine when there are none.
///
/// # Safety
/// `p` points to `len` bytes that stay for the call.
pub unsafe fn bytes<'a>(p: *const u8, len: usize) -> Answer<&'a [u8]> {
    if len == 0 {
        return Ok(&[]);
    }
    if p.is_null() || len > isize::MAX as usize {
        return fail(Code::Invalid, "the data is NULL or impossibly long");
    }
    Ok(std::slice::from_raw_parts(p, len))
}

/// Text from C.
///
/// # Safety
/// As for `bytes`.
pub unsafe fn text<'a>(p: *const c_char, len: usize, what: &str) -> Answer<&'a str> {
    std::str::from_utf8(bytes(p.cast(), len)?).or_else(|err| {
        fail(
            Code::Invalid,
            format!("the {what} is not UTF-8 at byte {}", err.valid_up_to()),
        )
    })
}

/// A terminated string from C.
///
/// # Safety
/// `p` is NULL or points to a string that stays for the call.
pub unsafe fn name<'a>(p: *const c_char) -> Answer<&'a str> {
    if p.is_null() {
        return fail(Code::Invalid, "the name is NULL");
    }
    CStr::from_ptr(p)
        .to_str()
        .or_else(|_| fail(Code::Invalid, "the name is not UTF-8"))
}

/// Refuse a NULL place for a result before any work is done for it.
pub fn check_place<T>(ret: *mut T) -> Answer<()> {
    if ret.is_null() {
        return fail(Code::Invalid, "the place for the result is NULL");
    }
    Ok(())
}

/// Set `*ret`, the last step of a call that succeeded.
///
/// # Safety
/// `ret` is NULL or points to room for one `T`.
pub unsafe fn give<T>(ret: *mut T, value: T) -> Answer<()> {
    check_place(ret)?;
    ret.write(value);
    Ok(())
}

/// Hand an object to C as a handle.
///
/// # Safety
/// As for `give`.
pub unsafe fn give_box<T>(ret: *mut *mut T, object: T) -> Answer<()> {
    check_place(ret)?;
    give(ret, Box::into_raw(Box::new(object)))
}

/// Drop what a handle owns. A panic there must not reach C either.
///
/// # Safety
/// `p` is NULL or came from `Box::into_raw` and was not freed.
pub unsafe fn free<T>(p: *mut T) {
    if !p.is_null() {
        barrier(|| {
            drop(Box::from_raw(p));
            Ok(())
        });
    }
}

/// `struct engine_str`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Str {
    p: *const c_char,
    n: usize,
}

impl Str {
    pub fn new(s: &str) -> Self {
        Self {
            p: s.as_ptr().cast(),
            n: s.len(),
        }
    }
}

/// `struct engine_buffer`.
#[repr(C)]
pub struct Buffer {
    data: *mut u8,
    len: usize,
}

impl Buffer {
    pub fn new(bytes: Vec<u8>) -> Self {
        let len = bytes.len();
        Self {
            data: Box::into_raw(bytes.into_boxed_slice()).cast(),
            len,
        }
    }
}

#[no_mangle]
pub unsafe extern "C" fn engine_buffer_free(buf: *mut Buffer) {
    let Some(buf) = buf.as_mut() else { return };
    if !buf.data.is_null() {
        drop(Box::from_raw(std::ptr::slice_from_raw_parts_mut(
            buf.data, buf.len,
        )));
    }
    buf.data = std::ptr::null_mut();
    buf.len = 0;
}

#[no_mangle]
pub extern "C" fn engine_last_error() -> *const c_char {
    LAST_ERROR.with(|cell| cell.borrow().as_ptr())
}

#[no_mangle]
pub extern "C" fn engine_version() -> *const c_char {
    static VERSION: Once = Once::new();
    static mut TEXT: [u8; 32] = [0; 32];
    let text = &raw mut TEXT;
    VERSION.call_once(|| {
        let bytes = yara_x::VERSION.as_bytes();
        let n = bytes.len().min(31);
        // Only this closure ever writes, once, before anybody reads.
        unsafe { (&mut *text)[..n].copy_from_slice(&bytes[..n]) };
    });
    text.cast_const().cast()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_a_code_and_a_text() {
        let code = barrier(|| -> Answer<()> { panic!("{} and\0NUL", "text") });
        assert_eq!(code, Code::Panic);
        let text = unsafe { CStr::from_ptr(engine_last_error()) }
            .to_str()
            .unwrap();
        assert!(
            text.starts_with("panic in the engine: text and\u{fffd}NUL (src/ffi.rs:"),
            "{text}"
        );
    }

    struct Glass(Cell<bool>);
    impl Fragile for Glass {
        fn broken(&self) -> &Cell<bool> {
            &self.0
        }
    }

    #[test]
    fn an_object_is_not_used_after_its_panic() {
        let mut glass = Glass(Cell::new(false));
        let mut ran = false;
        unsafe {
            assert_eq!(call(&mut glass, |_| Ok(())), Code::Ok);
            assert_eq!(call(&mut glass, |_| fail(Code::Scan, "no")), Code::Scan);
            assert_eq!(call(&mut glass, |_| panic!("once")), Code::Panic);
            let again = call(&mut glass, |_| {
                ran = true;
                Ok(())
            });
            assert_eq!(again, Code::Panic);
            assert_eq!(
                call(std::ptr::null_mut::<Glass>(), |_| Ok(())),
                Code::Invalid
            );
        }
        assert!(!ran);
    }

    #[test]
    fn a_panic_while_dropping_stays_inside() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("in drop");
            }
        }
        unsafe { free(Box::into_raw(Box::new(Bomb))) };
        let text = unsafe { CStr::from_ptr(engine_last_error()) }
            .to_str()
            .unwrap();
        assert!(text.contains("in drop"), "{text}");
    }
}
