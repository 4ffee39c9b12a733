#ifndef INDEX_TRANSPOSE_INTERNAL_H
#define INDEX_TRANSPOSE_INTERNAL_H
#include "out_internal.h"

/*
 * Add the rows of a matrix to o: columns of 2^class bits each become the bits of rows.
 * Some hundred KB at a time, so that rows and the words they come from stay in cache.
 */
MUST_USE int transpose_out(struct out *o, unsigned class, const uint64_t *const *columns,
			   uint32_t n, struct err *err);
#endif
