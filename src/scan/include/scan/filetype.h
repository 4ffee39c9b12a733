#ifndef SCAN_FILETYPE_H
#define SCAN_FILETYPE_H
#include <stdint.h>
#include "base/str.h"

/*
 * VirusTotal's names of file types, from what libmagic says. Numbers are those
 * of vt.FileType (filetypes.proto of the yara-x crate), names those of
 * VirusTotal's file objects (type_tag, type_description, type_extension,
 * type_tags). Tables: filetype.def. Pure functions; any thread.
 */
struct filetype {
	uint32_t vt;             /* vt.FileType */
	const char *tag;         /* "peexe" */
	const char *description; /* "Win32 EXE" */
	const char *extension;   /* "exe"; "" where there is none */
	const char *tags;        /* blank-separated: "executable windows win32 pe peexe" */
};

/* Never NULL; what is not in the table is "unknown". Arguments: see scan_identity. */
const struct filetype *filetype_of(struct str magic, struct str mime);

/* By vt.FileType; "unknown" for a number without an entry. Never NULL. */
const struct filetype *filetype_by_id(uint32_t vt);
#endif
