//! YARA-X behind a small C interface; include/engine.h is the manual.
