#include "asking.h"

#include <stdio.h>
#include <string.h>

/* ---- weir rm ---- */

int rm_command(const struct options *o)
{
	int status = STATUS_OK;
	struct asking a;
	struct err err;

	if (!o->word_count) {
		say("weir rm takes the MD5, SHA-1 or SHA-256 of each sample to remove");
		return STATUS_USAGE;
	}
	if (ask_open(&a, o, &err) != 0) {
		ask_close(&a);
		return ask_failed(&err);
	}
	for (size_t i = 0; i < o->word_count; i++) {
		int rc = ask(&a, CONTROL_REMOVE, &o->words[i], 1, NULL, NULL, &err);

		if (rc == 0) {
			printf("removed %s\n", o->words[i]);
			if (!frame_take_u64(&a.answer)) {
				say("%s: its bytes could not be erased from the disk yet; a "
				    "running "
				    "server tries again, and each start",
				    o->words[i]);
				status = STATUS_FAILED;
			}
			continue;
		}
		say("%s: %s", o->words[i], err.msg);
		status = STATUS_FAILED;
		if (rc == -ERR_CLOSED)
			break;
	}
	ask_close(&a);
	return status;
}
