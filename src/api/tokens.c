#include "api_internal.h"

#include "base/hex.h"
#include "base/mem.h"
#include "base/rand.h"

enum {
	TOKENS_MAX = 4096, /* addresses given out and not used: an hour of one a second */
	TOKEN_LIFE_S = 3600,
	TOKEN_BYTES = 32,
};

struct upload_token {
	char text[UPLOAD_TOKEN_CHARS + 1];
	int64_t user_id; /* 0: free */
	int64_t until_s;
};

struct upload_tokens {
	struct lock lock;
	struct upload_token slots[TOKENS_MAX];
};

struct upload_tokens *upload_tokens_new(void)
{
	struct upload_tokens *t = mem_must_zalloc(sizeof *t);

	lock_init(&t->lock, LOCK_USERS);
	return t;
}

void upload_tokens_free(struct upload_tokens *t)
{
	if (!t)
		return;
	lock_release(&t->lock);
	free(t);
}

bool upload_token_make(struct upload_tokens *t, int64_t user_id, int64_t now_s,
		       char ret[UPLOAD_TOKEN_CHARS + 1])
{
	AUTO(buf_release) struct buf text = BUF_INIT(UPLOAD_TOKEN_CHARS);
	uint8_t bytes[TOKEN_BYTES];
	struct upload_token *slot = NULL;

	rand_bytes(bytes, sizeof bytes);
	base64url_encode(&text, bytes, sizeof bytes);
	REQUIRE(text.n == UPLOAD_TOKEN_CHARS);
	lock_take(&t->lock);
	for (size_t i = 0; i < TOKENS_MAX && !slot; i++) {
		if (!t->slots[i].user_id || t->slots[i].until_s < now_s)
			slot = &t->slots[i];
	}
	if (slot) {
		memcpy(slot->text, text.p, UPLOAD_TOKEN_CHARS + 1);
		slot->user_id = user_id;
		slot->until_s = now_s + TOKEN_LIFE_S;
		memcpy(ret, text.p, UPLOAD_TOKEN_CHARS + 1);
	}
	lock_drop(&t->lock);
	return slot != NULL;
}

bool upload_token_use(struct upload_tokens *t, struct str token, int64_t user_id, int64_t now_s)
{
	bool found = false;

	lock_take(&t->lock);
	for (size_t i = 0; i < TOKENS_MAX && !found; i++) {
		struct upload_token *slot = &t->slots[i];

		found = slot->user_id == user_id && slot->until_s >= now_s &&
			str_eq_z(token, slot->text);
		if (found)
			slot->user_id = 0;
	}
	lock_drop(&t->lock);
	return found;
}
