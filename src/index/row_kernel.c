#include "row_kernel_internal.h"

/* Vectors stand at any address and over numbers of other types. */
#define VECTOR(bytes) __attribute__((vector_size(bytes), aligned(1), may_alias))

typedef uint64_t vec_portable __attribute__((aligned(1), may_alias));

#define KERNEL_NAME "portable"
#define NAME(x) portable_##x
#define TARGET
#define VEC vec_portable
#define VEC_ANY(v) ((v) != 0)
#include "row_kernel_body.h"
#undef KERNEL_NAME
#undef NAME
#undef TARGET
#undef VEC
#undef VEC_ANY

#ifdef __x86_64__
#include <immintrin.h>

typedef uint64_t vec_avx2 VECTOR(32);
typedef uint64_t vec_avx512 VECTOR(64);

#define KERNEL_NAME "avx2"
#define NAME(x) avx2_##x
#define TARGET __attribute__((target("avx2,bmi")))
#define VEC vec_avx2
#define VEC_ANY(v) (!_mm256_testz_si256((__m256i)(v), (__m256i)(v)))
#include "row_kernel_body.h"
#undef KERNEL_NAME
#undef NAME
#undef TARGET
#undef VEC
#undef VEC_ANY

#define KERNEL_NAME "avx512"
#define NAME(x) avx512_##x
#define TARGET __attribute__((target("avx512f,bmi")))
#define VEC vec_avx512
#define VEC_ANY(v) (_mm512_test_epi64_mask((__m512i)(v), (__m512i)(v)) != 0)
#include "row_kernel_body.h"
#endif

enum {
	KERNELS_MAX = 3
};

const struct row_kernel *row_kernel_at(unsigned i)
{
	const struct row_kernel *all[KERNELS_MAX + 1] = { &portable_kernel };
	unsigned n = 1;

#ifdef __x86_64__
	if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi"))
		all[n++] = &avx2_kernel;
	if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("bmi"))
		all[n++] = &avx512_kernel;
#endif
	return i < n ? all[i] : NULL;
}

const struct row_kernel *row_kernel(void)
{
	const struct row_kernel *best = NULL, *k;

	for (unsigned i = 0; (k = row_kernel_at(i)) != NULL; i++)
		best = k;
	return best;
}
