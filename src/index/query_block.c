#include "query_internal.h"

#include "base/mem.h"

/* Words of `columns` bits, to the end of a line. */
static size_t words_of(uint32_t columns)
{
	return ((size_t)columns + 8 * ROW_LINE - 1) / (8 * ROW_LINE) * QUERY_LINE_WORDS;
}

/* Does each document have one column? Some are too short for any, some have several. */
static bool is_plain(const struct segment_block *b)
{
	uint64_t columns = 0;

	for (uint32_t i = 0; i < b->matrix_count; i++)
		columns += b->matrices[i].columns;
	return !b->has_chunks && columns == b->doc_count;
}

size_t query_block_words(const struct segment_block *b)
{
	size_t words = is_plain(b) ? 0 : words_of(b->doc_count);

	for (uint32_t i = 0; i < b->matrix_count; i++)
		words += words_of(b->matrices[i].columns);
	return words;
}

/* ---- bits at any place -------------------------------------------------------------- */

/* to = count bits of `from` that begin with bit `first`; zeros to the end of its line. */
static void bits_cut(uint64_t *to, const uint64_t *from, uint32_t first, uint32_t count)
{
	size_t words = words_of(count), used = ((size_t)count + 63) / 64;
	unsigned shift = first % 64;

	from += first / 64;
	for (size_t i = 0; i < used; i++) {
		to[i] = from[i] >> shift;
		if (shift && i * 64 + 64 - shift < count)
			to[i] |= from[i + 1] << (64 - shift);
	}
	if (count % 64)
		to[used - 1] &= (1ull << count % 64) - 1;
	memset(to + used, 0, (words - used) * 8);
}

/* The first `count` bits of `from` are added to those of `to` that begin with bit `first`. */
static void bits_add(uint64_t *to, uint32_t first, const uint64_t *from, uint32_t count)
{
	unsigned shift = first % 64;

	to += first / 64;
	for (size_t i = 0; i * 64 < count; i++) {
		to[i] |= from[i] << shift;
		if (shift && from[i] >> (64 - shift))
			to[i + 1] |= from[i] >> (64 - shift);
	}
}

/* ---- tiles -------------------------------------------------------------------------- */

static void tile_add(struct query_block *block, const struct query_tile *tile)
{
	struct query_tile *t = &block->tiles[block->tile_count++];

	*t = *tile;
	t->word = block->words;
	block->words += words_of(tile->columns);
}

static uint32_t tile_doc(const struct query_tile *t, uint32_t column)
{
	return t->docs ? t->docs[column] : (t->doc_base + column) % QUERY_DOCS;
}

/* Which documents have a column, and which several. */
static void columns_count(const struct query_block *block, uint64_t *once, uint64_t *again)
{
	memset(once, 0, QUERY_DOC_WORDS * 8);
	memset(again, 0, QUERY_DOC_WORDS * 8);
	for (uint32_t i = 0; i < block->tile_count; i++) {
		const struct query_tile *t = &block->tiles[i];

		for (uint32_t column = 0; column < t->columns; column++) {
			uint32_t doc = tile_doc(t, column);

			again[doc / 64] |= once[doc / 64] & 1ull << doc % 64;
			once[doc / 64] |= 1ull << doc % 64;
		}
	}
}

static void bare_make(struct query_block *block, const uint64_t *once)
{
	uint32_t n = 0;

	for (uint32_t doc = 0; doc < block->b->doc_count; doc++)
		if (!(once[doc / 64] >> doc % 64 & 1))
			block->bare[n++] = (uint16_t)doc;
	if (n > 0)
		tile_add(block, &(struct query_tile){ .docs = block->bare, .columns = n });
}

/* The columns of each document that has several: counted, then listed. */
static int spreads_make(struct query_block *block, const uint64_t *again, struct err *err)
{
	AUTO(mem_drop) uint32_t *numbers = NULL; /* of documents among the spreads */
	uint32_t spreads = 0, places = 0;

	for (size_t i = 0; i < QUERY_DOC_WORDS; i++)
		spreads += (uint32_t)__builtin_popcountll(again[i]);
	for (uint32_t i = 0; i < block->tile_count; i++)
		places += block->tiles[i].columns;
	TRY(mem_try_array((void **)&numbers, QUERY_DOCS, sizeof *numbers, err));
	if (spreads > block->spread_cap) {
		mem_drop(&block->spreads);
		TRY(mem_try_array((void **)&block->spreads, spreads, sizeof *block->spreads, err));
		block->spread_cap = spreads;
	}
	if (places > block->place_cap) {
		mem_drop(&block->places);
		TRY(mem_try_array((void **)&block->places, places, sizeof *block->places, err));
		block->place_cap = places;
	}
	memset(block->spreads, 0, spreads * sizeof *block->spreads);
	for (uint32_t doc = 0; doc < QUERY_DOCS; doc++)
		if (again[doc / 64] >> doc % 64 & 1)
			numbers[doc] = ++block->spread_count;
	for (int round = 0; round < 2; round++) {
		for (uint32_t i = 0; i < block->tile_count; i++) {
			const struct query_tile *t = &block->tiles[i];

			for (uint32_t column = 0; column < t->columns; column++) {
				uint32_t number = numbers[tile_doc(t, column)];
				struct query_spread *s = &block->spreads[number - 1];

				if (number == 0)
					continue;
				if (round == 1)
					block->places[s->first + s->count] =
						(uint32_t)(t->word * 64 + column);
				s->count++;
			}
		}
		for (uint32_t i = 0, at = 0; i < block->spread_count && round == 0; i++) {
			block->spreads[i].first = at;
			at += block->spreads[i].count;
			block->spreads[i].count = 0;
		}
	}
	return 0;
}

int query_block_begin(struct query *q, const struct segment_block *b, struct err *err)
{
	struct query_block *block = &q->block;
	uint64_t *once = q->doc_bits;
	uint64_t again[QUERY_DOC_WORDS];

	block->b = b;
	block->tile_count = 0;
	block->words = 0;
	block->spread_count = 0;
	block->is_damaged = false;
	for (uint32_t i = 0; i < b->matrix_count; i++) {
		const struct segment_matrix *m = &b->matrices[i];

		REQUIRE(m->columns <= SEGMENT_BLOCK_DOCS);
		tile_add(block, &(struct query_tile){ .m = m,
						      .docs = m->docs,
						      .doc_base = m->doc_base,
						      .columns = m->columns });
	}
	if (!is_plain(b)) {
		columns_count(block, once, again);
		if (b->has_chunks)
			TRY(spreads_make(block, again, err));
		bare_make(block, once);
	}
	REQUIRE(block->words <= q->set_words);
	query_set_of_docs(q, q->doc_alive, block->alive);
	return 0;
}

/* ---- sets --------------------------------------------------------------------------- */

void query_set_of_docs(struct query *q, const uint64_t *bits, uint64_t *set)
{
	for (uint32_t i = 0; i < q->block.tile_count; i++) {
		const struct query_tile *t = &q->block.tiles[i];
		uint64_t *to = set + t->word;

		if (!t->docs) {
			REQUIRE(t->doc_base + t->columns <= QUERY_DOCS);
			bits_cut(to, bits, t->doc_base, t->columns);
			continue;
		}
		memset(to, 0, words_of(t->columns) * 8);
		for (uint32_t column = 0; column < t->columns; column++) {
			uint32_t doc = t->docs[column];

			to[column / 64] |= (bits[doc / 64] >> doc % 64 & 1) << column % 64;
		}
	}
}

void query_set_docs(struct query *q, const uint64_t *set, uint64_t *bits)
{
	memset(bits, 0, QUERY_DOC_WORDS * 8);
	for (uint32_t i = 0; i < q->block.tile_count; i++) {
		const struct query_tile *t = &q->block.tiles[i];
		const uint64_t *from = set + t->word;

		if (!t->docs) {
			bits_add(bits, t->doc_base, from, t->columns);
			continue;
		}
		for (uint32_t word = 0; word * 64 < t->columns; word++) {
			for (uint64_t todo = from[word]; todo; todo &= todo - 1) {
				uint32_t doc = t->docs[word * 64 + (uint32_t)__builtin_ctzll(todo)];

				bits[doc / 64] |= 1ull << doc % 64;
			}
		}
	}
}

void query_set_spread(struct query *q, uint64_t *set)
{
	const struct query_block *block = &q->block;

	for (uint32_t i = 0; i < block->spread_count; i++) {
		const uint32_t *places = block->places + block->spreads[i].first;
		uint32_t n = block->spreads[i].count;
		uint64_t any = 0;

		for (uint32_t k = 0; k < n; k++)
			any |= set[places[k] / 64] >> places[k] % 64 & 1;
		for (uint32_t k = 0; k < n && any; k++)
			set[places[k] / 64] |= 1ull << places[k] % 64;
	}
}
