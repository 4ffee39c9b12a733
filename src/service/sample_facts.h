#ifndef SERVICE_SAMPLE_FACTS_H
#define SERVICE_SAMPLE_FACTS_H
#include "base/arena.h"
#include "scan/scan.h"
#include "store/meta_file.h"

/* What rules may ask about a stored sample beside its bytes: the same for every way of hunting. */
struct sample_known {
	const struct file_row *file;
	bool identified; /* the next three are known */
	uint32_t file_type;
	struct str magic;
	struct str facts; /* a JSON object, see scan/facts.def; empty: none */
	struct str tags;  /* blank-separated, that extraction found */
	bool is_inside;   /* it is hunted because it was found in a container */
};

/* Its text lives in the arena, and in what is known. */
struct scan_facts sample_facts(const struct sample_known *known, struct arena *arena);
#endif
