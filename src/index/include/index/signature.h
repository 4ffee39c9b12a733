#ifndef INDEX_SIGNATURE_H
#define INDEX_SIGNATURE_H
#include <stddef.h>
#include <stdint.h>
#include "base/err.h"

/*
 * The grams of one sample as bits: a column, or one for each chunk of a sample above
 * SEGMENT_CHUNK_FROM (segment.h). Bit r of a column, gram_rows(class) bits, says that the
 * sample has a gram with row r (gram.h). The class is the smallest at which about the
 * given share of the bits is set at most.
 */
struct signature_column {
	uint8_t class;  /* SEGMENT_CLASS_MIN to SEGMENT_CLASS_MAX */
	uint64_t *bits; /* gram_rows(class) of them, bit r in word r / 64; owned */
};

struct signature {
	uint32_t column_count; /* 0: fewer bytes than a gram */
	uint32_t bytes;        /* memory it takes */
	struct signature_column columns[];
};

#define SIGNATURE_FILL_DEFAULT 380 /* per thousand; see docs/design/0006 */
enum {
	SIGNATURE_FILL_MIN = 100,
	SIGNATURE_FILL_MAX = 900
};

/*
 * Makes signatures; holds the column that is being filled (3 MB). One thread at a time.
 * fill_max: bits of a column that may be set, per thousand, SIGNATURE_FILL_MIN to _MAX.
 */
struct signer;
struct signer *signer_new(unsigned fill_max);
void signer_free(struct signer *s);
void signer_drop(struct signer **s);

/*
 * The signature of n bytes (LIMIT_SAMPLE_BYTES at most), which are read once, in order.
 * It takes at most half their size, usually a tenth. Errors: ERR_NO_MEMORY.
 */
MUST_USE int signer_sign(struct signer *s, const void *bytes, size_t n, struct signature **ret,
			 struct err *err);
void signature_free(struct signature *sig); /* NULL is fine */
void signature_drop(struct signature **sig);

/* Columns of a sample of n bytes. */
uint32_t signature_columns(uint64_t n);
#endif
