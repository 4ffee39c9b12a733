#ifndef BASE_BANNED_H
#define BASE_BANNED_H
/*
 * Functions that are easy to use wrongly and have a better way here. Included
 * before every file of ours by the compiler's command line (cmake/warnings.cmake).
 * The headers that declare them come first, so that only uses are caught; the
 * error names what to use instead.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#undef strcpy
#define strcpy(...) banned_strcpy_use_buf_or_str_dup
#undef strcat
#define strcat(...) banned_strcat_use_buf
#undef sprintf
#define sprintf(...) banned_sprintf_use_snprintf_or_buf_addf
#undef vsprintf
#define vsprintf(...) banned_vsprintf_use_vsnprintf_or_buf_vaddf
#undef strtok
#define strtok(...) banned_strtok_use_str_split
#undef atoi
#define atoi(...) banned_atoi_use_str_to_i64
#undef atol
#define atol(...) banned_atol_use_str_to_i64
#undef atoll
#define atoll(...) banned_atoll_use_str_to_i64
#undef gmtime
#define gmtime(...) banned_gmtime_use_date_from_days
#undef localtime
#define localtime(...) banned_localtime_use_time_format_utc
#undef rand
#define rand(...) banned_rand_use_rand_bytes_or_rand_next
#undef srand
#define srand(...) banned_srand_use_rand_seq
#endif
