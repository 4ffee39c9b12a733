//! YARA-X behind a small C interface; include/engine.h is the manual.
//!
//! Every exported function is one call of `ffi::barrier`, so that no panic of
//! the engine reaches C, and its file holds the object it works on.

mod compile;
mod depth;
mod facts;
mod features;
mod ffi;
mod json;
mod modules;
mod part;
mod plan;
mod rules;
mod scan;
