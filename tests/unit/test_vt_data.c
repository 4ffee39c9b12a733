#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "base/utf8.h"
#include "scan/vt_data.h"
#include "vt/titan.pb-c.h"

static Vt__Titan__LiveHuntData *unpack(const struct buf *b)
{
	Vt__Titan__LiveHuntData *d =
		vt__titan__live_hunt_data__unpack(NULL, b->n, (const uint8_t *)buf_str(b).p);

	assert_non_null(d);
	assert_non_null(d->meta);
	return d;
}

static void every_field_arrives(void **state)
{
	struct vt_data data = {
		.sha256 = STR("aa"),
		.sha1 = STR("bb"),
		.md5 = STR("cc"),
		.ssdeep = STR("3:x:y"),
		.imphash = STR("dd"),
		.tlsh = STR("T1"),
		.vhash = STR("vh"),
		.telfhash = STR("t1"),
		.file_name = STR("n\xc3\xa4me.exe"),
		.magic = STR("PE32 executable"),
		.file_type = 1,
		.file_size = UINT64_C(5) << 32,
		.times_submitted = 7,
		.unique_sources = 3,
		.first_submission_date = 1700000000,
		.new_file = true,
		.subfile = true,
		.tags = STR("signed  overlay"),
		.submitter_city = STR("bern"),
		.submitter_country = STR("CH"),
	};
	struct buf b = BUF_INIT(1 << 16);
	struct err err = { 0 };

	(void)state;
	assert_int_equal(vt_data_encode(&data, &b, &err), 0);
	Vt__Titan__LiveHuntData *d = unpack(&b);
	const Vt__Titan__FileMetadata *m = d->meta;

	assert_string_equal(m->sha256, "aa");
	assert_string_equal(m->sha1, "bb");
	assert_string_equal(m->md5, "cc");
	assert_string_equal(m->ssdeep, "3:x:y");
	assert_string_equal(m->imphash, "dd");
	assert_string_equal(m->tlsh, "T1");
	assert_string_equal(m->vhash, "vh");
	assert_string_equal(m->telfhash, "t1");
	assert_string_equal(m->file_name, "n\xc3\xa4me.exe");
	assert_string_equal(m->magic, "PE32 executable");
	assert_int_equal(m->file_type, VT__FILEANALYSIS__FILE_TYPE__PE_EXE);
	assert_true(m->file_size == INT64_C(5) << 32);
	assert_int_equal(m->times_submitted, 7);
	assert_int_equal(m->unique_sources, 3);
	assert_true(m->first_submission_date == 1700000000);
	assert_true(m->new_file && m->subfile);
	assert_int_equal(m->n_tags, 2);
	assert_string_equal(m->tags[1], "overlay");
	assert_int_equal(m->n_file_type_tags, 5);
	assert_string_equal(m->file_type_tags[4], "peexe");
	assert_string_equal(m->submitter->city, "bern");
	assert_string_equal(m->submitter->country, "CH");
	assert_int_equal(m->analysis_stats->malicious, 0);
	assert_null(m->itw);
	assert_null(d->behaviour);
	vt__titan__live_hunt_data__free_unpacked(d, NULL);
	buf_release(&b);
}

static void texts_are_cleaned(void **state)
{
	static const struct {
		struct str in;
		const char *out;
	} rows[] = {
		{ STR("plain"), "plain" },
		{ STR("\xff"), "\xef\xbf\xbd" },
		{ STR("a\0b"), "a?b" },
		{ STR("../../x"), "../../x" },
		{ STR("\xed\xa0\x80"), NULL }, /* a surrogate */
		{ STR(""), "" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
		struct vt_data data = { .file_name = rows[i].in, .tags = rows[i].in };
		struct buf b = BUF_INIT(1 << 16);
		struct err err = { 0 };

		assert_int_equal(vt_data_encode(&data, &b, &err), 0);
		Vt__Titan__LiveHuntData *d = unpack(&b);

		assert_true(utf8_valid(str_of(d->meta->file_name)));
		if (rows[i].out != NULL)
			assert_string_equal(d->meta->file_name, rows[i].out);
		vt__titan__live_hunt_data__free_unpacked(d, NULL);
		buf_release(&b);
	}
}

static void sizes_have_a_limit(void **state)
{
	struct buf name = BUF_INIT(4 << 20), b = BUF_INIT(4 << 20), tiny = BUF_INIT(8),
		   tags = BUF_INIT(1 << 20);
	struct vt_data data = { .file_size = UINT64_MAX, .times_submitted = UINT32_MAX };
	struct err err = { 0 };

	(void)state;
	for (unsigned i = 0; i < 1000; i++)
		buf_addf(&tags, "t%u ", i);
	data.tags = buf_str(&tags);
	assert_int_equal(vt_data_encode(&data, &b, &err), 0);
	Vt__Titan__LiveHuntData *d = unpack(&b);

	assert_int_equal(d->meta->n_tags, VT_DATA_TAGS_MAX);
	assert_true(d->meta->file_size == INT64_MAX);
	assert_int_equal(d->meta->times_submitted, INT32_MAX);
	vt__titan__live_hunt_data__free_unpacked(d, NULL);
	assert_int_equal(vt_data_encode(&data, &tiny, &err), -ERR_TOO_LARGE);
	for (unsigned i = 0; i < 300000; i++)
		buf_add_z(&name, "long");
	data.file_name = buf_str(&name);
	buf_reset(&b);
	assert_int_equal(vt_data_encode(&data, &b, &err), -ERR_TOO_LARGE);
	assert_int_equal(b.n, 0);
	buf_release(&name);
	buf_release(&b);
	buf_release(&tiny);
	buf_release(&tags);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_field_arrives),
		cmocka_unit_test(texts_are_cleaned),
		cmocka_unit_test(sizes_have_a_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
