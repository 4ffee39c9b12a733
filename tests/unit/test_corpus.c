/* The corpus: ranges of files and who covers them. */
#include "accounts_world.h"

#include "corpus.h"

static int set_up(void **state)
{
	struct world *w = world_new();

	world_open(w);
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	service_close(w->svc);
	test_dir_remove(w->dir);
	free(w);
	return 0;
}

static void without_segments_nobody_covers_a_range(void **state)
{
	struct world *w = *state;
	struct corpus_snapshot *s = corpus_snapshot_take(w->svc);
	struct corpus_part part;
	int64_t at = 5;

	assert_int_equal(corpus_snapshot_segments(s), 0);
	assert_true(corpus_snapshot_next(s, &at, 90, &part));
	assert_int_equal(part.first_id, 5);
	assert_int_equal(part.last_id, 90);
	assert_null(part.segment);
	assert_int_equal(at, 91);
	assert_false(corpus_snapshot_next(s, &at, 90, &part));
	corpus_snapshot_free(s);
}

int main(int argc, char **argv)
{
	WORLD_SCAN_CHILD(argc, argv);

	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(without_segments_nobody_covers_a_range, set_up,
						tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
