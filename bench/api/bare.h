#ifndef BENCH_API_BARE_H
#define BENCH_API_BARE_H
#include "base/str.h"

/*
 * libmicrohttpd alone, answering every request with one constant: what a server
 * on it cannot be faster than. Loop threads and polling as src/http has them.
 */
struct bare;
/* The body is copied. */
struct bare *bare_open(struct str body, unsigned threads, unsigned connections_max);
uint16_t bare_port(const struct bare *b);
void bare_close(struct bare *b);
#endif
