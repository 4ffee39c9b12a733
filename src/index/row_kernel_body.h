/*
 * The bodies of one struct row_kernel, included once for each instruction set with
 *   NAME(x)      the function's name
 *   TARGET       the attribute that allows the instructions
 *   VEC          a vector of 64-bit numbers, for any address
 *   VEC_ANY(v)   has it a bit?
 */

enum {
	NAME(VECS) = ROW_LINE / sizeof(VEC)
};

TARGET static uint64_t NAME(and_rows)(uint8_t *set, const uint8_t *const rows[ROW_AT_ONCE],
				      uint64_t lines, bool *cut)
{
	const uint8_t *r0 = rows[0], *r1 = rows[1], *r2 = rows[2], *r3 = rows[3];
	uint64_t left = 0;
	VEC gone = { 0 };

	for (uint64_t todo = lines; todo; todo &= todo - 1) {
		unsigned line = (unsigned)__builtin_ctzll(todo);
		size_t at = (size_t)line * ROW_LINE;
		VEC any = { 0 };

		for (unsigned i = 0; i < NAME(VECS); i++, at += sizeof(VEC)) {
			VEC *to = (VEC *)(set + at);
			VEC old = *to;
			VEC new = old &*(const VEC *)(r0 + at) & *(const VEC *)(r1 + at) &
				  *(const VEC *)(r2 + at) & *(const VEC *)(r3 + at);

			*to = new;
			any |= new;
			gone |= old ^ new;
		}
		left |= (uint64_t)VEC_ANY(any) << line;
	}
	*cut |= VEC_ANY(gone);
	return left;
}

TARGET static uint64_t NAME(lines)(const uint8_t *set, unsigned count)
{
	uint64_t lines = 0;

	for (unsigned line = 0; line < count; line++) {
		VEC any = { 0 };

		for (unsigned i = 0; i < NAME(VECS); i++)
			any |= *(const VEC *)(set + (size_t)line * ROW_LINE + i * sizeof(VEC));
		lines |= (uint64_t)VEC_ANY(any) << line;
	}
	return lines;
}

TARGET static bool NAME (and)(uint64_t *to, const uint64_t *a, const uint64_t *b, size_t words)
{
	VEC any = { 0 };

	for (size_t i = 0; i < words; i += sizeof(VEC) / 8) {
		VEC v = *(const VEC *)(a + i) & *(const VEC *)(b + i);

		*(VEC *)(to + i) = v;
		any |= v;
	}
	return VEC_ANY(any);
}

TARGET static bool NAME(and_not)(uint64_t *to, const uint64_t *a, const uint64_t *b, size_t words)
{
	VEC any = { 0 };

	for (size_t i = 0; i < words; i += sizeof(VEC) / 8) {
		VEC v = *(const VEC *)(a + i) & ~*(const VEC *)(b + i);

		*(VEC *)(to + i) = v;
		any |= v;
	}
	return VEC_ANY(any);
}

TARGET static void NAME(or)(uint64_t *to, const uint64_t *a, size_t words)
{
	for (size_t i = 0; i < words; i += sizeof(VEC) / 8)
		*(VEC *)(to + i) |= *(const VEC *)(a + i);
}

TARGET static void NAME(count)(uint64_t *const *planes, unsigned digits, const uint64_t *a,
			       size_t words)
{
	for (size_t i = 0; i < words; i += sizeof(VEC) / 8) {
		VEC carry = *(const VEC *)(a + i);

		for (unsigned d = 0; d < digits && VEC_ANY(carry); d++) {
			VEC *plane = (VEC *)(planes[d] + i);
			VEC old = *plane;

			*plane = old ^ carry;
			carry &= old;
		}
	}
}

TARGET static bool NAME(at_least)(uint64_t *to, const uint64_t *a, uint64_t *const *planes,
				  unsigned digits, unsigned k, size_t words)
{
	VEC any = { 0 };

	for (size_t i = 0; i < words; i += sizeof(VEC) / 8) {
		VEC zero = { 0 };
		VEC enough = ~zero; /* of the digits so far, lowest first */

		for (unsigned d = 0; d < digits; d++) {
			VEC plane = *(const VEC *)(planes[d] + i);

			enough = k >> d & 1 ? plane & enough : plane | enough;
		}
		enough &= *(const VEC *)(a + i);
		*(VEC *)(to + i) = enough;
		any |= enough;
	}
	return VEC_ANY(any);
}

static const struct row_kernel NAME(kernel) = {
	KERNEL_NAME,   NAME(and_rows), NAME(lines), NAME(and),
	NAME(and_not), NAME(or),       NAME(count), NAME(at_least),
};
