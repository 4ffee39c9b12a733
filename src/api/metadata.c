#include "answer.h"
#include "api_internal.h"
#include "relationship.h"

/* What clients build their sub-commands and menus from. */

/* Types that VirusTotal's own client asks about; weir has nothing of these. */
static const char *const foreign_types[] = { "collection", "threat_profile" };

static void put_relationships_of(struct json *j, enum object_kind kind)
{
	json_key(j, object_types[kind].name);
	json_arr(j);
	for (size_t i = 0; i < relationship_count; i++) {
		if (relationships[i].of != kind)
			continue;
		json_obj(j);
		json_kv_z(j, "name", relationships[i].name);
		json_kv_z(j, "description", relationships[i].description);
		json_obj_end(j);
	}
	json_arr_end(j);
}

void get_metadata(struct http_request *req, void *arg)
{
	struct answer a;
	struct json *j = &a.json;

	answer_begin(&a, arg, req, NULL);
	json_key(j, "data");
	json_obj(j);
	json_key(j, "engines"); /* weir has none of its own */
	json_obj(j);
	json_obj_end(j);
	json_key(j, "privileges");
	api_put_privilege_names(j);
	json_key(j, "relationships");
	json_obj(j);
	for (int kind = 0; kind < OBJECT_KIND_COUNT; kind++)
		put_relationships_of(j, (enum object_kind)kind);
	for (size_t i = 0; i < sizeof foreign_types / sizeof foreign_types[0]; i++) {
		json_key(j, foreign_types[i]);
		json_arr(j);
		json_arr_end(j);
	}
	json_obj_end(j);
	json_obj_end(j);
	answer_send(&a);
}

void get_threat_categories(struct http_request *req, void *arg)
{
	static const char *const categories[] = { "adware",   "banker", "dialer",     "downloader",
						  "dropper",  "fakeav", "hacktool",   "miner",
						  "phishing", "pua",    "ransomware", "spyware",
						  "trojan",   "virus",  "worm" };
	struct answer a;

	answer_begin(&a, arg, req, NULL);
	answer_list(&a);
	for (size_t i = 0; i < sizeof categories / sizeof categories[0]; i++)
		json_z(&a.json, categories[i]);
	json_arr_end(&a.json);
	answer_send(&a);
}
