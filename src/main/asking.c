#include "asking.h"

enum {
	REQUEST_BYTES_MAX = CONTROL_HEADER_BYTES + CONTROL_PAYLOAD_MAX
};

int ask_failed(const struct err *err)
{
	say("%s", err->msg);
	return STATUS_FAILED;
}

int ask_open(struct asking *a, const struct options *o, struct err *err)
{
	*a = (struct asking){ .request = BUF_INIT(REQUEST_BYTES_MAX) };
	TRY(session_open(&a->session, &o->settings, SESSION_STORES, err));
	return session_link(a->session, &a->link, err);
}

void ask_close(struct asking *a)
{
	session_close(a->session);
	buf_release(&a->request);
}

void ask_begin(struct asking *a, enum control_kind kind)
{
	buf_reset(&a->request);
	a->begun_at = frame_begin(&a->request, kind, 1);
}

static void no_item(struct frame *f, void *arg)
{
	(void)f;
	(void)arg;
}

int ask_end(struct asking *a, void (*item)(struct frame *f, void *arg), void *arg, struct err *err)
{
	frame_end(&a->request, a->begun_at);
	TRY(buf_check(&a->request, "what you typed", err));
	return session_call(a->link, buf_str(&a->request), item ? item : no_item, arg, &a->answer,
			    err);
}

int ask(struct asking *a, enum control_kind kind, const char *const *texts, size_t n,
	void (*item)(struct frame *f, void *arg), void *arg, struct err *err)
{
	ask_begin(a, kind);
	for (size_t i = 0; i < n; i++)
		frame_str(&a->request, str_of(texts[i]));
	return ask_end(a, item, arg, err);
}
