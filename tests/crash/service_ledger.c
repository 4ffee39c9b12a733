#include "service_ledger.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/rand.h"

struct ledger *ledger_map(const char *dir)
{
	char path[600];
	void *p;
	int fd;

	snprintf(path, sizeof path, "%s/ledger", dir);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, sizeof(struct ledger)) != 0) {
		perror(path);
		exit(3);
	}
	p = mmap(NULL, sizeof(struct ledger), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (p == MAP_FAILED) {
		perror(path);
		exit(3);
	}
	return p;
}

static void token_text(unsigned token, char out[24])
{
	snprintf(out, 24, "weir-token-%02u!", token);
}

struct sample sample_make(const struct ledger *led, uint32_t n)
{
	struct rand_seq r = { led->seed * 0x9e3779b97f4a7c15ull + n };
	struct sample s = { .n = 64 + rand_below(&r, 6000) };

	if (n >= SAMPLE_KIND_BIG)
		s.n = SAMPLE_BYTES_BIG;
	else if (n >= SAMPLE_KIND_STREAM)
		s.n = SAMPLE_BYTES_STREAM + rand_below(&r, 4000);
	else if (n % 7 == 0)
		s.n = 60000 + rand_below(&r, 100000);
	s.n += 32 * TOKENS;
	s.p = mem_must_zalloc(s.n + 8);
	for (size_t i = 0; i < s.n; i += 8) {
		uint64_t v = rand_next(&r);

		memcpy(s.p + i, &v, 8);
	}
	s.tokens = (unsigned)rand_next(&r) & (unsigned)rand_next(&r) & ALL_TOKENS;
	for (unsigned i = 0; i < TOKENS; i++) {
		char text[24];

		token_text(i, text);
		if (s.tokens & (1u << i))
			memcpy(s.p + s.n - 32 * (i + 1), text, strlen(text));
	}
	return s;
}

void rules_make(unsigned tokens, char out[1024])
{
	size_t n = 0;

	for (unsigned i = 0; i < TOKENS; i++) {
		char text[24];

		token_text(i, text);
		if (tokens & (1u << i))
			n += (size_t)snprintf(
				out + n, 1024 - n,
				"rule hit_%u { strings: $a = \"%s\" condition: $a }\n", i, text);
	}
}

unsigned rules_tokens(const char *text, size_t n)
{
	unsigned tokens = 0;

	for (unsigned i = 0; i < TOKENS; i++) {
		char word[24];

		token_text(i, word);
		if (memmem(text, n, word, strlen(word)))
			tokens |= 1u << i;
	}
	return tokens;
}
