#ifndef API_PAGE_H
#define API_PAGE_H
#include "base/arena.h"
#include "base/json.h"

/*
 * Paged lists (docs/api.md, Lists): what a page was asked for, and the envelope
 * around its objects.
 *
 * A position is whatever bytes the lister needs to go on behind the last object
 * of a page; it must rest on something that never changes (an id, a date of
 * creation with an id), never on a number of pages. The cursor clients get is
 * that position with filter, order, limit, the time that relative dates count
 * from and the total: alone it is enough. It has a keyed checksum over what list
 * it belongs to, so a cursor of another list or user is answered with 400, as
 * everything else that we did not write.
 *
 * A handler reads a page, lists, and writes the envelope through answer.h:
 *
 *	static const char *const orders[] = { "date", NULL };
 *	static const struct page_rules rules = { .filter = true, .orders = orders, .descending =
 *true };
 *
 *	if (!view_read(req, &view) || !page_read(api, req, &rules, STR(""), &view, &page))
 *		return;
 *	… page.limit objects behind page.position, in page.order, that match page.filter;
 *	  page.total says how many there are if that is known already
 *	answer_list_end(&a, &page, next, total);
 */
struct api;
struct http_request;
struct view;

enum {
	PAGE_LIMIT_NONE = 10,       /* objects of a page if limit= is not there */
	PAGE_POSITION_BYTES = 2048, /* largest position; a name of a ruleset and an id fit */
};

/* What a list takes; static. */
struct page_rules {
	uint32_t limit_max;        /* larger limit= are cut to it; 0: LIMIT_PAGE */
	bool filter;               /* takes filter= */
	const char *const *orders; /* names order= takes, NULL behind the last; NULL: takes none */
	bool descending;           /* without order= it is orders[0], so */
};

struct page {
	uint32_t limit;
	struct str filter; /* "" if there is none */
	unsigned order;    /* index into rules->orders */
	bool descending;
	bool ordered;        /* order= was given, or stands in the cursor */
	struct str position; /* go on behind this; empty: from the start */
	int64_t now_s;       /* UNIX seconds, of the first page */
	int64_t total;       /* as counted for the first page; -1: not counted yet */
	/* for the envelope */
	const struct page_rules *rules;
	uint64_t key;      /* of this list and user: its cursors' checksums are made with it */
	struct str cursor; /* of this page */
	struct str path; /* of its links: "/api/v3/…"; p NULL: the request's own, all repeated */
	struct str related; /* path of its members as whole objects; p NULL: not told */
	bool descriptors_only;
};

/*
 * What the request asks for. `list` names the list within the user's world; empty:
 * the request's path. A cursor brings its filter, order, limit and
 * descriptors_only (which goes into *view); filter and order may stand beside it
 * if they are its own. false: answered with 400.
 */
bool page_read(struct api *api, struct http_request *req, const struct page_rules *rules,
	       struct str list, struct view *view, struct page *ret);

/* The first page, which no request asked for, of a list that is served at `path`. */
void page_first(struct page *ret, struct api *api, struct http_request *req,
		const struct page_rules *rules, struct str list, struct str path);

/* Members "meta" and "links". See answer_list_end for next and total. */
void page_put_end(struct json *j, struct http_request *req, const struct page *page,
		  struct str next, int64_t total);

/* The same where cursors are made elsewhere. Texts that do not apply have p NULL. */
struct page_links {
	struct str path;    /* "/api/v3/files/…" as it stands in links; NULL: the request's */
	struct str related; /* the same of its members as whole objects */
	struct str filter;
	uint32_t limit;
	struct str order;
	struct str descriptors_only; /* "true", "false" */
	struct str cursor;           /* of this page */
	struct str next;             /* cursor of the next page */
};
/* "links": absolute, replayable; what else the request asked for is repeated. */
void page_put_links(struct json *j, struct http_request *req, const struct page_links *links);
/* "meta": the total unless negative, the cursor of the next page unless empty. */
void page_put_meta(struct json *j, int64_t total, struct str next);

/* A number as a position and back; false: not one. 0 from an empty position. */
struct str page_position_of(struct arena *arena, int64_t v);
bool page_position_number(struct str position, int64_t *ret);

/* ---- the cursor's text, for tests and the fuzzer ---- */
/* Made with page->key and what holds in *page; goes on behind `position`. */
void page_cursor_encode(struct buf *out, const struct page *page, struct str position);
/*
 * Fills what a cursor holds into *page, whose key is set; strings go into the arena.
 * false: not one of this list's, *page is as it was.
 */
bool page_cursor_decode(struct arena *arena, struct str text, struct page *page);
#endif
