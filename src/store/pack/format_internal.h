#ifndef STORE_PACK_FORMAT_INTERNAL_H
#define STORE_PACK_FORMAT_INTERNAL_H
#include <stdbool.h>
#include <stdint.h>
#include "base/err.h"
#include "base/hash.h"
#include "base/le.h"

/*
 * The bytes of a pack: encoding and decoding of its three structures. Pure
 * functions over memory; the page with the tables is docs/format/pack.md.
 */
enum {
	PACK_HEADER_BYTES = 40,
	PACK_RECORD_BYTES = 64, /* the header of a record; the sample's bytes follow */
	PACK_FOOTER_BYTES = 56,
	PACK_ALIGN = 8,
	PACK_SALT_BYTES = 8,
	PACK_VERSION = 1,
};
#define PACK_RECORD_MAGIC 0x43455257u /* "WREC" */
#define PACK_FOOTER_MAGIC 0x444e4557u /* "WEND" */

/*
 * Marks are the only bytes that are ever rewritten: eight of them, aligned to
 * eight, so inside one sector, and outside every checksum. However a rewrite is
 * torn, the structure around it stays readable and the mark is seen as set.
 */
#define PACK_MARK_NONE 0ull
#define PACK_MARK_SEALED 0x2144454c41455321ull /* "!SEALED!" */
#define PACK_MARK_ERASED 0x2144455341524521ull /* "!ERASED!" */
#define PACK_MARK_BROKEN 0x214e454b4f524221ull /* "!BROKEN!" */

/* What a checksum in a pack is bound to, besides its own bytes. */
struct pack_id {
	uint32_t number;
	uint8_t salt[PACK_SALT_BYTES];
};

struct pack_header {
	struct pack_id id;
	uint64_t mark; /* PACK_MARK_SEALED, or anything else for no */
};

struct record_header {
	uint64_t len;
	uint8_t sha256[SHA256_BYTES];
	uint32_t data_crc;
	uint64_t mark; /* PACK_MARK_NONE: alive */
};

struct pack_footer {
	uint64_t count;
	uint8_t root[SHA256_BYTES];
};

/* The running checksum over a pack's records, in order. */
struct pack_chain {
	uint64_t count;
	uint8_t root[SHA256_BYTES];
};

/* Bytes that a record takes in the file: header, sample, padding. len must be below 2^62. */
static inline uint64_t record_span(uint64_t len)
{
	return PACK_RECORD_BYTES + (len + PACK_ALIGN - 1) / PACK_ALIGN * PACK_ALIGN;
}
enum {
	PACK_HEADER_MARK_AT = 32, /* the mark's place inside the header */
	PACK_RECORD_MARK_AT = 56, /* … inside a record's header */
};

void pack_header_encode(const struct pack_header *h, uint8_t out[PACK_HEADER_BYTES]);
/* ERR_CORRUPT: not a pack, damaged, of another number. ERR_INVALID: of a newer version. */
MUST_USE int pack_header_decode(struct pack_header *ret, const uint8_t p[PACK_HEADER_BYTES],
				uint32_t number, struct err *err);

void record_header_encode(const struct record_header *h, const struct pack_id *id, uint64_t offset,
			  uint8_t out[PACK_RECORD_BYTES]);
/* NULL, or what is wrong with the record header at this offset of this pack. */
const char *record_header_decode(struct record_header *ret, const struct pack_id *id,
				 uint64_t offset, const uint8_t p[PACK_RECORD_BYTES]);

void pack_footer_encode(const struct pack_footer *f, const struct pack_id *id, uint64_t offset,
			uint8_t out[PACK_FOOTER_BYTES]);
const char *pack_footer_decode(struct pack_footer *ret, const struct pack_id *id, uint64_t offset,
			       const uint8_t p[PACK_FOOTER_BYTES]);

/* Adds the record with this header to the chain. Marks do not count. */
void pack_chain_add(struct pack_chain *c, const struct record_header *h);
#endif
