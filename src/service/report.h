#ifndef SERVICE_REPORT_H
#define SERVICE_REPORT_H
#include "base/buf.h"
#include "store/meta_bundle.h"

/*
 * The attributes of a file object that may change, as JSON, made once when something about
 * the sample changes and stored ready to be spliced into responses. What follows from its
 * content (store/meta_facts.h) is joined to it when it is read.
 * Names and meanings: VirusTotal's file object (docs.virustotal.com/reference/files).
 */
void report_write(struct buf *out, const struct file_row *file, struct str tags,
		  struct str bundle_info, const struct str *names, size_t name_count,
		  int64_t now_s);

/* The file's tags, blank-separated: its type's, then what extraction found. */
void report_tags(struct buf *out, uint32_t file_type, struct str found);

/* Read what the report needs, write it, store it. On the writer's connection. */
MUST_USE int report_refresh(struct sql_conn *conn, int64_t file_id, int64_t analysis_s,
			    int64_t now_s, struct arena *arena, struct err *err);
#endif
