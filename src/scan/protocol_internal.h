#ifndef SCAN_PROTOCOL_INTERNAL_H
#define SCAN_PROTOCOL_INTERNAL_H
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>
#include "base/err.h"
#include "scan/many.h"
#include "scan/unpack.h"

/*
 * What weir (the parent) and a scan child say to each other.
 *
 * A SEQPACKET socket pair: one packet is one message, a head of 16 bytes and a
 * body of fixed little-endian fields, then bytes. Descriptors travel beside it
 * (SCM_RIGHTS), only from parent to child. Both ends are the same program, so
 * there is one version (PROTOCOL_VERSION, checked by HELLO).
 *
 *   parent              child
 *   HELLO fd      ->            fd: the page of struct mark
 *                 <-    READY, or REFUSED with the reason as text
 *   COMPILE fd    ->            fd: the source bundle (below)
 *                 <-    DATA(messages)* DATA(table)* DATA(code)* DATA(plan)* DONE
 *   LOAD [fd]     ->            fd: the code of an earlier COMPILE
 *                 <-    DONE
 *   IDENTIFY fd   ->            fd: the file that holds the sample
 *                 <-    DATA(facts)* DONE time "description\0mime\0ssdeep\0tags\0failure\0"
 *   PROBE fd      ->
 *                 <-    DONE
 *   SCAN fd [fd]  ->            second fd: the facts, when over PACKET_INLINE_MAX
 *                 <-    DATA(hits)* DONE hits
 *   MANY fd+      ->            the files that hold the samples
 *                 <-    DATA(found)* DONE found
 *   UNPACK fd     ->
 *                 <-    DATA(records)* DONE
 *
 * Every request has a sequence number, its answer repeats it; up to SCAN_DEPTH
 * IDENTIFYs, SCANs and MANYs may be unanswered, anything else only when nothing is. An answer is
 * any number of DATA packets and one DONE; an answer whose DONE is not STATUS_OK
 * voids its DATA. The parent checks all of it and kills a child that deviates;
 * the child exits when a request is malformed, as that is a bug.
 *
 * Large things go to the child in sealed memory files and come back as DATA
 * packets: so a child needs no call that makes or grows a file.
 *
 * Source bundle: count x { u32 namespace bytes, u32 source bytes }, then for
 * each source its namespace and its text.
 * Table: per rule { u32 source, u32 flags, u32 name bytes, u32 metadata bytes,
 * u32 tags }, tags x u32 bytes, name, metadata, tags.
 * Hits: { u8 slot, u8 cut, u16 matches, u32 rule, u32 item, u32 status }, matches x { u64 offset,
 * u64 len }. Found: { u32 items finished, … }, then hits of items in their order, and within one in
 * that of slots; those of the last item may go on in the next packet.
 * Facts of SCAN: the texts of enum fact in its order, without separators.
 * Facts of IDENTIFY: engine_facts.object; the failure says why there are none.
 * Records of UNPACK: { u8 kind, u8 how, u16 flags, u32 bytes }, then the bytes; one never
 * goes over the end of its packet. ENTRY (how: its kind; i64 mtime, then the name), and
 * for files BYTES* END (how it ended).
 */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
	       "the fields below are copied as they are");

enum {
	PROTOCOL_VERSION = 4,
	PROTOCOL_FD = 3,               /* the child's end */
	PACKET_BYTES_MAX = 60 * 1024,  /* fits the kernel's default send buffer thrice */
	PACKET_INLINE_MAX = 12 * 1024, /* SCAN_DEPTH of these fit the send buffer: no deadlock */
	PACKET_FDS_MAX = SCAN_MANY_FILES,
	RECEIVE_WAKE_MS = 50, /* how late a deadline may be noticed */
};

enum packet_type {
	PACKET_HELLO = 1,
	PACKET_COMPILE,
	PACKET_LOAD,
	PACKET_IDENTIFY,
	PACKET_PROBE,
	PACKET_SCAN,
	PACKET_MANY,
	PACKET_UNPACK,
	PACKET_READY = 0x40,
	PACKET_REFUSED,
	PACKET_DATA,
	PACKET_DONE,
};

enum packet_stream {
	STREAM_NONE,
	STREAM_MESSAGES,
	STREAM_TABLE,
	STREAM_CODE,
	STREAM_PLAN,
	STREAM_FOUND,
	STREAM_HITS,
	STREAM_FACTS,
	STREAM_FEATURES,
	STREAM_RECORDS
};

enum packet_status {
	STATUS_OK,
	STATUS_REFUSED, /* COMPILE: the messages say why */
	STATUS_FAILED,  /* the engine failed; the body is its text */
	STATUS_SHORT,   /* the file ends before the sample does */
	STATUS_IO,      /* reading the sample failed; the body is the reason */
};

struct packet_head {
	uint8_t type;
	uint8_t stream; /* of DATA */
	uint16_t fds;
	uint32_t seq;
	uint32_t bytes;  /* of the body */
	uint32_t status; /* of DONE */
};

struct packet_hello {
	uint32_t version;
	uint32_t reserved;
	uint64_t memory_max;
};

struct packet_compile {
	uint32_t entity;
	uint32_t warnings_max;
	uint32_t sources;
	uint8_t retrohunt;
	uint8_t refuse_slow;
	uint8_t want_messages;
	uint8_t want_plan; /* of the only source */
	uint32_t only;     /* so many indexes of its rules end the bundle; 0: all rules */
	uint32_t zero;
	uint64_t bundle_bytes;
};

/* DONE of COMPILE */
struct packet_compiled {
	uint32_t rules;
	uint32_t tags; /* of all rules together */
	uint64_t messages_bytes;
	uint64_t table_bytes;
	uint64_t code_bytes;
	uint64_t plan_bytes; /* 0: none was wanted, or the engine failed to make one */
};

struct packet_bundle_entry {
	uint32_t ns_bytes;
	uint32_t source_bytes;
};

enum {
	RULE_PRIVATE = 1,
	RULE_GLOBAL = 2
};
struct packet_rule {
	uint32_t source;
	uint32_t flags;
	uint32_t name_bytes;
	uint32_t metadata_bytes;
	uint32_t tags;
};

/* Which facts a set's sources name at all: the others need not be set. */
enum fact {
	FACT_FILE_NAME,
	FACT_FILE_TYPE,
	FACT_MD5,
	FACT_SHA1,
	FACT_SHA256,
	FACT_TAGS,
	FACT_IMPHASH,
	FACT_SSDEEP,
	FACT_VT,
	FACT_TEXTS, /* those above are text */
	FACT_SUBMISSIONS = FACT_TEXTS,
	FACT_NEW_FILE,
	FACT_COUNT,
};
/* As rules call them. */
extern const char *const fact_names[FACT_COUNT];

struct packet_load {
	uint32_t slot;
	uint32_t uses;       /* bit 1 << enum fact */
	uint64_t code_bytes; /* 0: empty the slot, no descriptor */
};

struct packet_sample {
	uint64_t offset;
	uint64_t len;
};

struct packet_identify {
	struct packet_sample sample;
	uint32_t want_facts; /* 0: only its first bytes are looked at */
	uint32_t reserved;
};

/* DONE of IDENTIFY; the texts follow */
struct packet_identified {
	uint64_t examine_us;
	uint32_t features_version;
	uint32_t unused;
};

struct packet_scan {
	struct packet_sample sample;
	int64_t submissions;
	uint32_t new_file;
	uint32_t slots; /* bit 1 << slot */
	uint32_t fact_bytes[FACT_TEXTS];
};

/* DONE of SCAN; hits follow */
struct packet_scanned {
	uint64_t scan_us;
};

struct packet_hit {
	uint8_t slot;
	uint8_t cut;
	uint16_t matches;
	uint32_t rule;
	uint32_t item;   /* 0 in SCAN */
	uint32_t status; /* of MANY: not STATUS_OK: no hit, but this slot failed */
};

struct packet_match {
	uint64_t offset;
	uint64_t len;
};

/* Body of MANY; items follow, as many as fit. */
struct packet_many {
	uint32_t ms_max; /* it ends early with the item that is under way then; 0: never */
	uint32_t reserved;
};

struct packet_item {
	uint64_t offset;
	uint32_t len;
	uint16_t slots;
	uint16_t file; /* which of the packet's descriptors */
};

/* Before the hits of each packet of found. */
struct packet_found {
	uint32_t done; /* items from the first one that are finished */
	uint32_t reserved;
	uint64_t scan_us; /* since the packet before */
};

/*
 * One page that parent and child share, so that the one knows what the other was
 * at when it ended: number of the request, shifted by 32, and the item.
 */
struct mark {
	_Atomic uint64_t at;
};

/* The passwords follow, one after the other. */
struct packet_unpack {
	struct packet_sample sample;
	uint64_t entries_max;
	uint64_t entry_bytes_max;
	uint64_t bytes_max;
	uint32_t cpu_ms;
	uint8_t is_stream;
	uint8_t only_passwords;
	uint16_t passwords;
	uint16_t password_bytes[UNPACK_PASSWORDS_MAX];
};

enum record_kind {
	RECORD_ENTRY,
	RECORD_BYTES,
	RECORD_END
};
enum {
	RECORD_ENCRYPTED = 1, /* flags of ENTRY */
	RECORD_MTIME = 2
};
struct packet_record {
	uint8_t kind;
	uint8_t how;
	uint16_t flags;
	uint32_t bytes; /* that follow */
};

/* DONE of UNPACK; what went wrong follows as text */
struct packet_unpacked {
	uint64_t entries;
	uint64_t bytes;
	uint64_t encrypted;
	uint64_t opened;
	uint64_t missing;
};

struct packet {
	struct packet_head head;
	const uint8_t *body;     /* inside the receiver's buffer */
	int fds[PACKET_FDS_MAX]; /* head.fds of them, owned by the receiver */
};

/*
 * Send one packet whose body is parts[0..n). Waits for room for at most
 * timeout_ms (-1: for ever). ERR_CLOSED: the other side is gone; ERR_TIMEOUT; ERR_IO.
 */
MUST_USE int packet_send(int sock, struct packet_head head, const struct iovec *parts, size_t n,
			 const int *fds, int timeout_ms, struct err *err);

/*
 * Receive one packet into `room` (PACKET_BYTES_MAX bytes). fds_max: descriptors
 * accepted. Waits until deadline_us of the monotonic clock (0: not at all,
 * INT64_MAX: for ever); up to RECEIVE_WAKE_MS longer, the socket's SO_RCVTIMEO,
 * which the caller has set.
 * Errors: ERR_CLOSED: the other side is gone; ERR_TIMEOUT; ERR_CORRUPT: not a
 * packet of this protocol; ERR_IO.
 */
MUST_USE int packet_recv(int sock, void *room, int fds_max, int64_t deadline_us, struct packet *ret,
			 struct err *err);
#endif
