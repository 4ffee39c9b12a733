#ifndef SCAN_GROUP_H
#define SCAN_GROUP_H
/* A pool of children for all tests of a program, which is its own child. */
#include "scan_fixture.h"

/* The program of a test is its own scan child. */
#define SCAN_CHILD(argc, argv)                                                                     \
	do {                                                                                       \
		if ((argc) == 2 && strcmp((argv)[1], "scan-child") == 0)                           \
			return scan_child_main();                                                  \
	} while (0)

static struct scan_pool *pool; /* of the group; tests that need other limits open their own */

static int open_group(void **state)
{
	struct scan_pool_options options = SCAN_POOL_OPTIONS_DEFAULT;

	(void)state;
	pool = open_pool(&options);
	return 0;
}

/* It leaves no child behind. */
static int close_group(void **state)
{
	(void)state;
	scan_pool_close(pool);
	return waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD ? 0 : -1;
}
#endif
