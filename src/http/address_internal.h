#ifndef HTTP_ADDRESS_INTERNAL_H
#define HTTP_ADDRESS_INTERNAL_H
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

/* How many connections each address has. One thread at a time: the server's lock is held. */
struct address_counts;
struct address_counts *addresses_new(unsigned connections_max);
void addresses_free(struct address_counts *t);

/*
 * An IPv4 address, the network of 64 bits that an IPv6 one lies in (a client has
 * at least that much to choose from); never 0. However an IPv4 address is written.
 */
uint64_t address_key(const struct sockaddr_storage *ss);

bool address_is_full(struct address_counts *t, uint64_t address, unsigned max);
/* One more; false: it has `max`, or there are too many addresses. */
bool address_enter(struct address_counts *t, uint64_t address, unsigned max);
void address_leave(struct address_counts *t, uint64_t address); /* once for each enter */
#endif
