#include "hunt.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

#include "progress.h"

/* What a hunt would cost, for people. */

enum {
	TEXT_BYTES_MAX = 64 << 20, /* of 16 MB of JSON */
	COUNT_COLUMNS = 10,
};

static uint64_t number(json_t *object, const char *key)
{
	json_int_t n = json_integer_value(json_object_get(object, key));

	return n > 0 ? (uint64_t)n : 0;
}

static void put_files(struct buf *out, json_t *object, const char *indent)
{
	struct buf bytes = BUF_INIT(64);

	progress_put_bytes(&bytes, (double)number(object, "candidate_bytes"));
	buf_addf(out, "%*" PRIu64 " files %*s  %s", COUNT_COLUMNS,
		 number(object, "candidate_files"), COUNT_COLUMNS, bytes.p, indent);
	buf_release(&bytes);
}

static void put_entry(struct buf *out, json_t *object, const char *indent)
{
	const char *name = json_string_value(json_object_get(object, "name"));
	const char *note = json_string_value(json_object_get(object, "note"));

	put_files(out, object, indent);
	show_text(out, str_of(name ? name : ""));
	if (json_is_true(json_object_get(object, "slow")))
		buf_add_z(out, "  SLOW");
	if (note && *note) {
		buf_add_z(out, "  (");
		show_text(out, str_of(note));
		buf_add_c(out, ')');
	}
	buf_add_c(out, '\n');
}

static void put_total(struct buf *out, json_t *root)
{
	put_files(out, root, "");
	buf_addf(out, "of %" PRIu64 " files, ", number(root, "total_files"));
	progress_put_bytes(out, (double)number(root, "total_bytes"));
	buf_addf(out, ", are to be read: about %.1f s\n",
		 json_number_value(json_object_get(root, "seconds")));
	if (number(root, "not_indexed_files"))
		buf_addf(out, "%*" PRIu64 " files of them are not in the index yet\n",
			 COUNT_COLUMNS, number(root, "not_indexed_files"));
}

void hunt_view_estimate(struct hunt_view *v, struct str attributes_json)
{
	AUTO(buf_release) struct buf out = BUF_INIT(TEXT_BYTES_MAX);
	json_t *root, *rule, *string;
	size_t i, k;

	if (v->format == HUNT_JSON) {
		buf_add_str(&out, attributes_json);
		buf_add_c(&out, '\n');
	} else {
		root = json_loadb(attributes_json.p ? attributes_json.p : "", attributes_json.n, 0,
				  NULL);
		put_total(&out, root);
		json_array_foreach(json_object_get(root, "rules"), i, rule)
		{
			put_entry(&out, rule, "");
			json_array_foreach(json_object_get(rule, "strings"), k, string)
				put_entry(&out, string, "    ");
		}
		json_decref(root);
	}
	hunt_view_print(v, &out);
}
