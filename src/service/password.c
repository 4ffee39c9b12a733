#include <string.h>

#include "base/limits.h"
#include "opening.h"
#include "scan/unpack.h"
#include "service_internal.h"

/* Is a password right, before the sample is acknowledged. */

enum {
	ENTRIES_MAX = 10000, /* in front of the first encrypted one */
	CPU_MS = 5000,       /* for a file of 16 MB, and the key derivation of AES */
	WALL_MS = 15000,
};

static int try_in_child(struct service *svc, const struct scan_sample *sample, struct str password,
			bool *ret_wrong, struct err *err)
{
	const struct unpack_request request = {
		.limits = { ENTRIES_MAX, LIMIT_SAMPLE_BYTES, LIMIT_SAMPLE_BYTES, CPU_MS, WALL_MS },
		.only_passwords = true,
		.passwords = &password,
		.password_count = 1,
	};
	static const struct unpack_calls none = { NULL, NULL, NULL };
	struct unpacked result;
	struct scan_child *child;

	TRY(scan_child_take(&child, svc->scan, err));
	int rc = scan_unpack(child, sample, &request, &none, NULL, &result, err);

	scan_child_give(svc->scan, child);
	if (rc)
		return rc;
	*ret_wrong = result.encrypted > 0 && result.opened == 0 &&
		     (result.missing & MISSING_ENCRYPTED) != 0;
	return 0;
}

int password_check(struct service *svc, const struct pack_locator *at, struct str password,
		   struct err *err)
{
	struct pack_file *pack;
	bool wrong = false;
	char magic[4];

	if (at->len < sizeof magic)
		return 0;
	TRY(packs_read(svc->packs, at, 0, magic, sizeof magic, err));
	if (memcmp(magic, "PK\3\4", sizeof magic) != 0)
		return 0;
	TRY(packs_get(svc->packs, at->pack, &pack, err));
	const struct scan_sample sample = { pack_file_fd(pack), at->offset, at->len };
	struct err why;

	/* What harms the child is looked at when it is analysed: it is no matter of the password.
	 */
	if (try_in_child(svc, &sample, password, &wrong, &why) != 0)
		wrong = false;
	pack_file_put(svc->packs, pack);
	return wrong ? err_set(err, ERR_FORBIDDEN, "the password does not open the archive") : 0;
}
