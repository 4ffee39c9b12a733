#ifndef INDEX_TRANSPOSE_INTERNAL_H
#define INDEX_TRANSPOSE_INTERNAL_H
#include "out_internal.h"

/*
 * Add the rows of a matrix to o: columns of gram_rows(class) bits each become the bits of rows.
 * Some hundred KB at a time, so that rows and the words they come from stay in cache.
 */
MUST_USE int transpose_out(struct out *o, unsigned class, const uint64_t *const *columns,
			   uint32_t n, struct err *err);

/*
 * Rows of 1, 2 or 4 bits, given one to a byte, pushed together in place; returns the bytes
 * that are left. `rows` is a multiple of eight.
 */
size_t rows_pack(uint8_t *rows_of_bytes, size_t rows, unsigned bits);
#endif
