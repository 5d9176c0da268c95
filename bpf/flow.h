/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Decides: which rewrite a packet belongs to, and how a new flow's pair is made.
 * Assumes: the mirror rule. A flow made from the client's packet K, rewritten to T, is
 *
 *              key K          rewrite T
 *              key mirror(T)  rewrite mirror(K)
 *
 *          so either half can be written again from the other, and one lookup undoes every
 *          translation at once.
 * Leaves:  the bytes of the packet to rewrite.h.
 */
#pragma once

#include "service.h"

#define EEXIST 17

const volatile struct config config = {
	.first_port = 49152,
	.last_port = 65535,
	.layout = LAYOUT,
};

/* Ticks of 2^30 ns: a shift instead of a division. */
#define TICKS(seconds) ((__u32)((seconds)*1000000000ULL >> 30))

/* Idle times as other datapaths have them; a half-seen handshake must not end a connection. */
#define TCP_IDLE       TICKS(8000)
#define TCP_UNANSWERED TICKS(60)
#define TCP_CLOSED     TICKS(10)
#define UDP_IDLE       TICKS(60)

static __always_inline __u32 now(void)
{
	return bpf_ktime_get_coarse_ns() >> 30;
}

static __always_inline int closed(const struct flow *flow)
{
	const __u8 fins = FIN_FROM_CLIENT | FIN_FROM_BACKEND;

	return flow->tcp & RESET || (flow->tcp & fins) == fins;
}

static __always_inline int expired(const struct flow *flow)
{
	__u32 idle = now() - flow->seen;

	if (flow->rewrite.protocol == IPPROTO_UDP)
		return idle > UDP_IDLE;
	if (closed(flow))
		return idle > TCP_CLOSED;
	return idle > (flow->tcp & ANSWERED ? TCP_IDLE : TCP_UNANSWERED);
}

/* What this packet adds to what is known of its connection. */
static __always_inline __u8 learned(const struct packet *packet)
{
	__u8 bits = packet->tuple.side == FROM_BACKEND ? ANSWERED : 0;

	if (packet->tcp & TCP_FIN)
		bits |= packet->tuple.side == FROM_BACKEND ? FIN_FROM_BACKEND : FIN_FROM_CLIENT;
	if (packet->tcp & TCP_RST)
		bits |= RESET;
	return bits;
}

/*
 * Brings both halves up to date and writes the other one again when it was evicted. Should
 * another flow own its place by now, this half is forgotten, and the next packet opens anew.
 */
static __noinline void refresh(const struct tuple *key, struct flow *flow, __u8 tcp)
{
	struct tuple other_key = mirror(&flow->rewrite);
	struct flow other_half = *flow;
	struct flow *other;

	flow->seen = now();
	flow->tcp = tcp;
	other_half.rewrite = mirror(key);
	other_half.seen = flow->seen;
	other_half.tcp = tcp;
	other = bpf_map_lookup_elem(&flows, &other_key);
	if (!other) {
		bpf_map_update_elem(&flows, &other_key, &other_half, BPF_NOEXIST);
	} else if (same_tuple(&other->rewrite, &other_half.rewrite)) {
		other->seen = flow->seen;
		other->tcp = tcp;
	} else {
		bpf_map_delete_elem(&flows, key);
	}
}

/* Once a tick and at every change of state: more would only make processors share a line. */
static __always_inline void touch(const struct packet *packet, struct flow *flow)
{
	__u8 tcp = flow->tcp | learned(packet);

	if (tcp != flow->tcp || now() != flow->seen)
		refresh(&packet->tuple, flow, tcp);
	count_service(flow->service, packet);
}

/* The backend that the flow goes to, unless that number means another one by now. */
static __always_inline struct backend *backend_of(const struct flow *flow)
{
	struct backend *backend = bpf_map_lookup_elem(&backends, &flow->backend);

	if (!backend || backend->state == GONE)
		return NULL;
	if (backend->port != flow->rewrite.destination_port ||
	    !same_address(&backend->address, &flow->rewrite.destination))
		return NULL;
	return backend;
}

/* Where a client's packet goes: what was decided for its flow, or is decided now. */
struct route {
	struct tuple rewrite;
	__u32 id;
	__u32 service;
};

/*
 * Puts entry 2 of a flow in its place: CONTINUE, or FLOWS_FULL, or PORTS_EXHAUSTED for "this
 * place is another's". Our own half in it is success, an expired occupant is put out.
 */
static __always_inline int claim(const struct tuple *key, const struct flow *half)
{
	long error = bpf_map_update_elem(&flows, key, half, BPF_NOEXIST);
	struct flow *occupant;

	if (!error)
		return CONTINUE;
	if (error != -EEXIST)
		return FLOWS_FULL;
	occupant = bpf_map_lookup_elem(&flows, key);
	if (occupant && !same_tuple(&occupant->rewrite, &half->rewrite) && !expired(occupant))
		return PORTS_EXHAUSTED;
	return bpf_map_update_elem(&flows, key, half, BPF_ANY) ? FLOWS_FULL : CONTINUE;
}

/* The candidates start at the flow's own number: a lost half is found again on the same way. */
static __always_inline __be16 candidate(__u32 hash, __u32 try)
{
	__u32 range = config.last_port - config.first_port + 1;

	return bpf_htons(config.first_port + (hash + try) % range);
}

/*
 * Whether one of the first candidates is this flow's already; `key` is left at it. Not all of
 * them are looked at: whoever sends packets of no connection must not make us search at length.
 */
static __noinline int find_own_port(struct tuple *key, const struct flow *half, __u32 hash)
{
	struct flow *occupant;

#pragma clang loop unroll(disable)
	for (__u32 try = 0; try < LOST_TRIES; try++) {
		key->destination_port = candidate(hash, try);
		occupant = bpf_map_lookup_elem(&flows, key);
		if (occupant && same_tuple(&occupant->rewrite, &half->rewrite))
			return 1;
	}
	return 0;
}

/* Claims the first candidate that is free; `key` is left at it. */
static __noinline int take_port(struct tuple *key, const struct flow *half, __u32 hash)
{
	__u32 tries = PORT_TRIES;
	int reason = PORTS_EXHAUSTED;
	__u64 *histogram;

#pragma clang loop unroll(disable)
	for (__u32 try = 0; try < PORT_TRIES; try++) {
		key->destination_port = candidate(hash, try);
		reason = claim(key, half);
		if (reason != PORTS_EXHAUSTED) {
			tries = try;
			break;
		}
	}
	histogram = bpf_map_lookup_elem(&port_tries, &tries);
	if (histogram)
		*histogram += 1;
	return reason;
}

/* The node's address of the packet's family, as the source towards another node. */
static __always_inline int node_address(const struct packet *packet, struct address *address)
{
	const volatile struct address *from = packet->v6 ? &config.node_v6 : &config.node_v4;

	address->halves[0] = from->halves[0];
	address->halves[1] = from->halves[1];
	return address->halves[0] || address->halves[1] ? CONTINUE : NO_NODE_ADDRESS;
}

/*
 * Chooses where the answer comes to, and claims that place. A local backend answers to the
 * client itself; only when the same client and port reach the pod through another frontend
 * already does the flow take a port, still in the client's name. A remote backend must answer
 * to this node. A packet from the midst of a connection looks for the port it had before.
 */
static __always_inline int place_answer(const struct packet *packet, __u32 hash,
					const struct backend *backend, struct tuple *key,
					const struct flow *half)
{
	int reason;

	if (backend->flags & BACKEND_LOCAL) {
		reason = claim(key, half);
		if (reason != PORTS_EXHAUSTED)
			return reason;
	} else {
		reason = node_address(packet, &key->destination);
		if (reason)
			return reason;
	}
	if (packet->tcp && !begins(packet) && find_own_port(key, half, hash))
		return claim(key, half);
	return take_port(key, half, hash);
}

/*
 * A client comes back on ports that it used before: a pair that still leads to the same backend
 * is taken over where it stands. To put a new one in its place would cost two entries of the
 * table, each of which makes the kernel look for one to evict. Says whether it was.
 */
static __always_inline int reopen(const struct packet *packet, const struct backend *backend,
				  const struct flow *half, struct route *route)
{
	struct flow *mine = bpf_map_lookup_elem(&flows, &packet->tuple), *other;
	struct address source = packet->tuple.source;
	struct tuple key;

	if (!mine || mine->rewrite.destination_port != backend->port ||
	    !same_address(&mine->rewrite.destination, &backend->address))
		return 0;
	if (!(backend->flags & BACKEND_LOCAL) && node_address(packet, &source))
		return 0;
	if (!same_address(&mine->rewrite.source, &source))
		return 0;
	key = mirror(&mine->rewrite);
	other = bpf_map_lookup_elem(&flows, &key);
	if (!other || !same_tuple(&other->rewrite, &half->rewrite))
		return 0;
	route->rewrite = mine->rewrite;
	mine->backend = other->backend = half->backend;
	mine->service = other->service = half->service;
	mine->seen = other->seen = half->seen;
	mine->tcp = other->tcp = half->tcp;
	return 1;
}

/* Makes the pair of a new flow to `backend`; `route` says what became of it. */
static __noinline int open_flow(const struct packet *packet, const struct backend *backend,
				__u32 hash, struct route *route)
{
	const struct tuple *from = &packet->tuple;
	struct flow half = { .backend = route->id, .service = route->service, .seen = now() };
	struct tuple key = *from;
	int reason;

	key.destination = backend->address;
	key.destination_port = backend->port;
	key = mirror(&key);
	half.rewrite = mirror(from);
	half.tcp = learned(packet);
	if (packet->tcp && !begins(packet))
		half.tcp |= ANSWERED; /* it lives longer than our table's memory of it */
	if (packet->ended && reopen(packet, backend, &half, route)) {
		count_flow(route->service);
		return CONTINUE;
	}
	reason = place_answer(packet, hash, backend, &key, &half);
	if (reason)
		return reason;
	half.rewrite = mirror(&key);
	route->rewrite = half.rewrite;
	if (bpf_map_update_elem(&flows, from, &half, BPF_ANY))
		return FLOWS_FULL;
	count_flow(route->service);
	return CONTINUE;
}
