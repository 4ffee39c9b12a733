#ifndef STORE_META_FACTS_H
#define STORE_META_FACTS_H
#include "store/meta_file.h"

/*
 * Facts: what follows from a sample's content alone (file_facts). Stored once, by the
 * analysis, and joined to the file's report when that is read, so that a submission
 * or a new name never rewrites them.
 */
struct file_facts {
	struct str object; /* JSON object, UTF-8, checked: see scan/facts.def; empty: none */
	struct str tags;   /* blank-separated */
};

/* Store or replace; nothing is written if they are as they were. Writer's connection. */
MUST_USE int file_facts_put(struct sql_conn *conn, int64_t file_id, const struct file_facts *facts,
			    struct err *err);
/* Empty texts if there are none. */
MUST_USE int file_facts_get(struct sql_conn *conn, int64_t file_id, struct arena *arena,
			    struct file_facts *ret, struct err *err);
/* Empty if there are none. */
MUST_USE int file_facts_tags(struct sql_conn *conn, int64_t file_id, struct arena *arena,
			     struct str *ret, struct err *err);

/*
 * The attributes of the file object as one JSON object: the stored report and the
 * facts. Empty if there is no such file or it has no report yet.
 */
MUST_USE int file_report(struct sql_conn *conn, int64_t file_id, struct arena *arena,
			 struct str *ret, struct err *err);
#endif
