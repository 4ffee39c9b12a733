#include "fuzz.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json_view.h"
#include "engine.h"

/*
 * Any bytes as a sample: what the engine finds in it is a JSON object within its bounds
 * with members that are known, the same each time; tags and the tail of the description
 * are what the parent of a scan child takes.
 */
enum {
	TAIL_MAX = 8192,
	SEED_MAX = 64 << 10,
};

static bool is_known(struct str name)
{
	static const char *const names[] = {
#define FACT_MEMBER(name) #name,
#include "facts.def"
	};

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		if (str_eq_z(name, names[i]))
			return true;
	}
	return false;
}

static const char *type_of_part(const uint8_t *part, size_t n, void *arg)
{
	(void)part;
	*(size_t *)arg += n;
	return n % 2 ? "odd \"data\"\xff" : NULL;
}

static void check(const struct engine_facts *facts)
{
	struct str object = str_make(facts->object.data, facts->object.len);
	struct err err = { 0 };

	REQUIRE(object.n <= ENGINE_FACTS_BYTES_MAX);
	REQUIRE(json_view_check(object, &err) == 0);
	REQUIRE(object.p[0] == '{');
	for (struct str at = json_view_inside(object), name, value;
	     json_view_member(&at, &name, &value);) {
		REQUIRE(is_known(name));
		REQUIRE(str_eq(json_view_find(object, name), value)); /* once */
	}
	for (size_t i = 0; i < facts->tags.len; i++)
		REQUIRE(strchr("abcdefghijklmnopqrstuvwxyz0123456789- ", facts->tags.data[i]));
	REQUIRE(facts->magic_tail.len <= TAIL_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct engine_facts facts, again;
	size_t asked = 0;

	/* A panic is an answer too, but one to be mended. */
	REQUIRE(engine_facts(data, n, type_of_part, &asked, &facts) == ENGINE_OK);
	check(&facts);
	REQUIRE(engine_facts(data, n, type_of_part, &asked, &again) == ENGINE_OK);
	REQUIRE(facts.object.len == again.object.len);
	REQUIRE(memcmp(facts.object.data, again.object.data, facts.object.len) == 0);
	engine_facts_release(&again);
	engine_facts_release(&facts);
	return 0;
}

/* Beside fuzz/corpus/facts (made by tests/http/crafted.py): a program of this machine. */
void fuzz_seeds(void (*run)(const uint8_t *data, size_t n))
{
	static uint8_t room[SEED_MAX];
	int fd = open("/bin/true", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, room, sizeof room) : 0;

	if (fd >= 0)
		close(fd);
	run((const uint8_t *)"", 0);
	if (n > 0)
		run(room, (size_t)n);
}
