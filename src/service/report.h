#ifndef SERVICE_REPORT_H
#define SERVICE_REPORT_H
#include "base/buf.h"
#include "store/meta_file.h"

/*
 * The attributes of a file object as JSON, made once when something about the
 * sample changes and stored ready to be spliced into responses.
 * Names and meanings: VirusTotal's file object (docs.virustotal.com/reference/files).
 */
void report_write(struct buf *out, const struct file_row *file, const struct str *names,
		  size_t name_count, int64_t now_s);

/* Read what the report needs, write it, store it. On the writer's connection. */
MUST_USE int report_refresh(struct sql_conn *conn, int64_t file_id, int64_t analysis_s,
			    int64_t now_s, struct arena *arena, struct err *err);
#endif
