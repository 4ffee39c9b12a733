#ifndef HTTP_INTERNAL_H
#define HTTP_INTERNAL_H
#include "base/str.h"

/*
 * Percent-decode s into out (room for s.n bytes); with `form` '+' is a blank.
 * An escape that is none stays as it is and makes the result false.
 */
bool http_decode(struct str s, bool form, char *out, size_t *ret_n);
#endif
