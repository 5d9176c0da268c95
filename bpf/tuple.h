/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Decides: what the answer to a packet looks like, and the number that chooses its backend.
 * Assumes: every byte of a tuple is set, padding included, since tuples are keys.
 * Leaves:  what a number chooses to service.h; core/balance.py computes the same one.
 */
#pragma once

#include "maps.h"

/* What the receiver of `tuple` sends back: ends swapped, side flipped. Its own inverse. */
static __always_inline struct tuple mirror(const struct tuple *tuple)
{
	return (struct tuple){
		.source = tuple->destination,
		.destination = tuple->source,
		.source_port = tuple->destination_port,
		.destination_port = tuple->source_port,
		.protocol = tuple->protocol,
		.side = !tuple->side,
	};
}

static __always_inline int same_address(const struct address *a, const struct address *b)
{
	return a->halves[0] == b->halves[0] && a->halves[1] == b->halves[1];
}

static __always_inline int same_tuple(const struct tuple *a, const struct tuple *b)
{
	const __u64 *left = (const void *)a, *right = (const void *)b;

	return left[0] == right[0] && left[1] == right[1] && left[2] == right[2] &&
	       left[3] == right[3] && left[4] == right[4];
}

/* Odd constants of the golden ratio and of the square root of two. */
#define MIX_WORD  0x9e3779b97f4a7c15ULL
#define MIX_FINAL 0x6a09e667f3bcc909ULL

/*
 * The same on every node and after every restart: nothing but the packet goes in, so any node
 * of a group that receives the flow picks the same backend. Words are little-endian.
 */
static __always_inline __u64 flow_hash(const struct tuple *tuple)
{
	const __u64 *words = (const void *)tuple;
	__u64 hash = 0;

#pragma unroll
	for (int i = 0; i < 5; i++) {
		hash = (hash ^ words[i]) * MIX_WORD;
		hash ^= hash >> 32;
	}
	hash *= MIX_FINAL;
	return hash ^ hash >> 29;
}
