/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Decides: whether somebody serves the packet's destination, and which backend answers.
 * Assumes: the order of writing that maps.h names.
 * Leaves:  flows that exist already to flow.h, which is asked first.
 */
#pragma once

#include "packet.h"
#include "tuple.h"

static __always_inline void count(enum reason reason)
{
	__u32 index = reason;
	__u64 *counter = bpf_map_lookup_elem(&counters, &index);

	if (counter)
		*counter += 1;
}

static __always_inline void count_service(__u32 service, const struct packet *packet)
{
	struct service_stats *stats = bpf_map_lookup_elem(&service_stats, &service);

	if (!stats)
		return;
	stats->packets += 1;
	stats->bytes += packet->length;
}

static __always_inline void count_drop(__u32 service)
{
	struct service_stats *stats = bpf_map_lookup_elem(&service_stats, &service);

	if (stats)
		stats->drops += 1;
}

static __always_inline void count_flow(__u32 service)
{
	struct service_stats *stats = bpf_map_lookup_elem(&service_stats, &service);

	if (stats)
		stats->flows += 1;
}

/* The number of the service behind the destination, or NULL: a NodePort answers on any own one. */
static __always_inline __u32 *find_frontend(const struct packet *packet)
{
	struct frontend key = {
		.address = packet->tuple.destination,
		.port = packet->tuple.destination_port,
		.protocol = packet->tuple.protocol,
	};
	__u32 *service = bpf_map_lookup_elem(&frontends, &key);

	if (service || !bpf_map_lookup_elem(&node_addresses, &key.address))
		return service;
	key.address.words[3] = 0;
	if (packet->v6)
		key.address = (struct address){};
	return bpf_map_lookup_elem(&frontends, &key);
}

/* Reads the word once: slot and count of two different moments would be a wrong backend. */
static __always_inline int find_service(const struct packet *packet, __u32 *id,
					union service *service)
{
	__u32 *found = find_frontend(packet);
	__u64 *word;

	if (!found)
		return LEAVE;
	*id = *found;
	word = bpf_map_lookup_elem(&services, id);
	if (!word)
		return LEAVE;
	service->word = *(volatile __u64 *)word;
	if (service->count)
		return CONTINUE;
	/* No host owns the address: passing the packet on would send it round to us again. */
	count_drop(*id);
	return service->flags & SERVICE_LOCAL ? NO_LOCAL_ENDPOINT : NO_ENDPOINTS;
}

/*
 * The turn of `hash` in a table of `turns`. The compiler may prove the bound and drop the
 * check that the verifier needs, so the value is hidden from it first.
 */
static __always_inline __u32 *turn_of(__u32 *table, __u64 hash, __u32 turns)
{
	__u64 turn = (hash >> 32) * turns >> 32;

	asm volatile("" : "+r"(turn));
	if (turn >= turns)
		return NULL;
	return &table[turn];
}

static __always_inline __u32 *find_turn(union service service, __u64 hash)
{
	__u32 slot = service.slot;
	void *table;

	if (service.class == SMALL) {
		table = bpf_map_lookup_elem(&tables_small, &slot);
		return table ? turn_of(table, hash, SMALL_TURNS) : NULL;
	}
	if (service.class == MEDIUM) {
		table = bpf_map_lookup_elem(&tables_medium, &slot);
		return table ? turn_of(table, hash, MEDIUM_TURNS) : NULL;
	}
	table = bpf_map_lookup_elem(&tables_large, &slot);
	return table ? turn_of(table, hash, LARGE_TURNS) : NULL;
}

static __always_inline struct backend *standing(const __u32 *id)
{
	struct backend *backend = bpf_map_lookup_elem(&backends, id);

	return backend && backend->state != GONE ? backend : NULL;
}

/* Where the Service's connections went until a moment ago; NULL when it has long been here. */
static __always_inline struct backend *predecessor_of(__u32 service)
{
	__u32 *id = bpf_map_lookup_elem(&predecessors, &service);

	return id ? standing(id) : NULL;
}

/* The backend of a new flow and its number; NULL when it is gone already. */
static __always_inline struct backend *pick_backend(union service service, __u64 hash, __u32 *id)
{
	__u32 *turn;

	*id = service.slot;
	if (service.count > 1) {
		turn = find_turn(service, hash);
		if (!turn)
			return NULL;
		*id = *turn;
	}
	return standing(id);
}
