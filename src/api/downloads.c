#include "api_internal.h"

#include <stdio.h>

#include "base/hex.h"

/*
 * A sample's bytes: by its name with a key, or by an address that carries its own
 * permission.
 *
 * Such an address ends in a token: file, user and end of validity, and a MAC over
 * them with the instance's secret. It is not stored anywhere, so it can be used
 * as often as one likes while it is valid, after a restart too; what the user may
 * is asked anew each time.
 */
enum {
	DOWNLOAD_LIFE_S = 3600, /* VirusTotal's hour */
	MAC_BYTES = 16,
	TOKEN_BYTES = SHA256_BYTES + 8 + 8 + MAC_BYTES,
	TOKEN_CHARS = (TOKEN_BYTES * 4 + 2) / 3,
};

/* What the MAC is over; the wire has it with the numbers' lowest byte first. */
struct permission {
	uint8_t sha256[SHA256_BYTES];
	int64_t user_id;
	int64_t until_s;
};

/* ---- Tokens ---- */

static void put_number(uint8_t *to, int64_t v)
{
	for (int i = 0; i < 8; i++)
		to[i] = (uint8_t)((uint64_t)v >> 8 * i);
}

static int64_t get_number(const uint8_t *from)
{
	uint64_t v = 0;

	for (int i = 0; i < 8; i++)
		v |= (uint64_t)from[i] << 8 * i;
	return (int64_t)v;
}

static void token_write(const struct api *api, const struct permission *p, struct buf *out)
{
	uint8_t bytes[TOKEN_BYTES], mac[SHA256_BYTES];

	memcpy(bytes, p->sha256, SHA256_BYTES);
	put_number(bytes + SHA256_BYTES, p->user_id);
	put_number(bytes + SHA256_BYTES + 8, p->until_s);
	service_sign(api->svc, "download", bytes, TOKEN_BYTES - MAC_BYTES, mac);
	memcpy(bytes + TOKEN_BYTES - MAC_BYTES, mac, MAC_BYTES);
	base64url_encode(out, bytes, sizeof bytes);
}

/* false: we have not made it, or it has run out. */
static bool token_read(const struct api *api, struct str token, struct permission *ret)
{
	uint8_t bytes[TOKEN_BYTES], mac[SHA256_BYTES];
	size_t n;

	if (token.n != TOKEN_CHARS || !base64_decode(token, bytes, sizeof bytes, &n) ||
	    n != TOKEN_BYTES)
		return false;
	service_sign(api->svc, "download", bytes, TOKEN_BYTES - MAC_BYTES, mac);
	if (!secret_equal(bytes + TOKEN_BYTES - MAC_BYTES, mac, MAC_BYTES))
		return false;
	memcpy(ret->sha256, bytes, SHA256_BYTES);
	ret->user_id = get_number(bytes + SHA256_BYTES);
	ret->until_s = get_number(bytes + SHA256_BYTES + 8);
	return ret->until_s > clock_unix_s(service_clock(api->svc));
}

/* ---- Bytes ---- */

struct held_pack {
	struct packs *packs;
	struct pack_file *file;
};

static void release_pack(void *arg)
{
	struct held_pack *held = arg;

	pack_file_put(held->packs, held->file);
}

/* Bytes never change, so their name is the tag and their arrival the date. */
static void send_bytes(struct http_request *req, struct api *api, const struct file_info *file)
{
	struct held_pack *held = arena_must(req->arena, sizeof *held);
	char hex[2 * SHA256_BYTES + 1], disposition[128];
	const struct audit_by by = api_by(req);
	struct err err;
	int rc;

	/* Before a byte is sent: what is not noted is not given out. */
	hex_encode(file->hashes.sha256, SHA256_BYTES, hex);
	rc = req->is_head
		     ? 0
		     : audit_note(api->svc, &by, AUDIT_FILE_DOWNLOAD, str_of(hex), STR(""), &err);
	if (rc) {
		api_fail(req, rc, &err);
		return;
	}
	held->packs = service_packs(api->svc);
	rc = packs_get(held->packs, file->at.pack, &held->file, &err);
	if (rc) {
		api_fail(req, rc, &err);
		return;
	}
	snprintf(disposition, sizeof disposition, "attachment; filename=\"%s\"", hex);
	http_respond_header(req, "Content-Type", STR("application/octet-stream"));
	http_respond_header(req, "Content-Disposition", str_of(disposition));
	http_respond_header(req, "X-Content-Type-Options", STR("nosniff"));
	http_respond_etag(req, str_of(hex));
	http_respond_modified(req, file->first_submission_s);
	http_respond_fd(req, 200, pack_file_fd(held->file), file->at.offset, file->at.len,
			release_pack, held);
}

void get_download(struct http_request *req, void *arg)
{
	struct file_info file;

	if (api_find_file(req, arg, &file))
		send_bytes(req, arg, &file);
}

/* ---- Addresses ---- */

void get_download_url(struct http_request *req, void *arg)
{
	struct api *api = arg;
	struct buf out = BUF_INIT(API_RESPONSE_MAX);
	AUTO(buf_release) struct buf url = BUF_INIT(4096), token = BUF_INIT(TOKEN_CHARS);
	struct permission p = { .user_id = api_user_id(req) };
	struct file_info file;
	struct json j;

	if (!api_find_file(req, api, &file))
		return;
	memcpy(p.sha256, file.hashes.sha256, SHA256_BYTES);
	p.until_s = clock_unix_s(service_clock(api->svc)) + DOWNLOAD_LIFE_S;
	token_write(api, &p, &token);
	api_link(&url, req, "/files/download/%s", token.p);
	json_init(&j, &out);
	json_obj(&j);
	json_kv_str(&j, "data", buf_str(&url));
	json_obj_end(&j);
	json_end(&j);
	http_respond_header(req, "Cache-Control", STR("no-store"));
	http_respond_buf(req, 200, &out);
}

/* Who asked for the address, as he is now; false: answered. */
static bool permitted(struct http_request *req, struct api *api, const struct permission *p)
{
	struct api_call *call = arena_must(req->arena, sizeof *call);
	struct err err;
	int rc = user_by_id(api->svc, p->user_id, &call->user, &err);

	if (rc && rc != -ERR_NOT_FOUND) {
		api_fail(req, rc, &err);
		return false;
	}
	call->api = api;
	if (rc == 0)
		req->user = call;
	if (rc || call->user.disabled) {
		api_error(req, 401, "UserNotActiveError", "The account is not active");
		return false;
	}
	if (call->user.role < ROLE_HUNTER) {
		api_forbidden(req);
		return false;
	}
	return true;
}

void get_download_token(struct http_request *req, void *arg)
{
	struct api *api = arg;
	struct permission p;
	struct file_info file;
	char hex[2 * SHA256_BYTES + 1];
	struct err err;
	int rc;

	if (!token_read(api, req->params[0], &p)) {
		api_error(req, 400, "BadRequestError",
			  "This download address is unknown or too old: ask for a new one");
		return;
	}
	if (!permitted(req, api, &p))
		return;
	rc = file_get_sha256(api->svc, p.sha256, req->arena, &file, &err);
	if (rc == -ERR_NOT_FOUND) {
		hex_encode(p.sha256, SHA256_BYTES, hex);
		api_not_found(req, "File", str_of(hex));
	} else if (rc) {
		api_fail(req, rc, &err);
	} else {
		send_bytes(req, api, &file);
	}
}
