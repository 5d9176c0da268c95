/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Decides: what user space and the datapath share: the maps, their layout and the constants.
 * Assumes: user space writes in the order backend, table, service word, frontend, and takes
 *          away in the reverse order, so that a reader never meets a name without its thing.
 * Leaves:  what the values mean for a packet to the headers named after them.
 *
 * An address is always 16 bytes; IPv4 stands as ::ffff:a.b.c.d. Ports and addresses are in
 * network byte order, all else in the machine's. An element of an array map is padded to a
 * multiple of 8 bytes: a mapped table of 251 turns has a stride of 1008 bytes, not 1004.
 */
#pragma once

#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "reason.h"

/* Pinned maps are used again only by a program of the same layout; changes with any struct here. */
#define LAYOUT 1

#define MAX_FRONTENDS 65536
#define MAX_SERVICES  65536
#define KNOWN_HOPS    1024 /* a power of two */
#define MAX_BACKENDS  131072
#define MAX_FLOWS     524288
#define MAX_ADDRESSES 1024

/*
 * Turns of a table, all prime as Maglev needs; a change of one backend moves about 1 % of the
 * flows while the turns are a hundred times the backends. 16384 small ones are 16 MiB.
 */
#define SMALL_TURNS  251
#define MEDIUM_TURNS 1021
#define LARGE_TURNS  4093
#define SMALL_SLOTS  16384
#define MEDIUM_SLOTS 2048
#define LARGE_SLOTS  256

/* Source ports tried for one flow before it is refused. */
#define PORT_TRIES 32

/* Of these, looked at for a port that was lost: with half of the range in use, 99.6 % are here. */
#define LOST_TRIES 8

struct address {
	union {
		__u8 octets[16];
		__be32 words[4];
		__u64 halves[2];
	};
};
_Static_assert(sizeof(struct address) == 16, "address");

struct frontend {
	struct address address; /* unspecified (::ffff:0.0.0.0 or ::) for a NodePort */
	__be16 port;
	__u8 protocol; /* IPPROTO_TCP or IPPROTO_UDP */
	__u8 pad;
} __attribute__((packed, aligned(4)));
_Static_assert(sizeof(struct frontend) == 20, "frontend");

enum table_class { SMALL = 0, MEDIUM = 1, LARGE = 2 };

#define SERVICE_LOCAL 1 /* policy Local: an empty service says so in its counter */

/*
 * What a frontend stands for, in one word that is always stored and loaded whole:
 *
 *   byte  0        4       6       7       8
 *         | slot   | count | class | flags |
 */
union service {
	__u64 word;
	struct {
		__u32 slot;  /* of the table of `class`; the backend itself when count is 1 */
		__u16 count; /* of backends; 0 means that nobody answers */
		__u8 class;  /* enum table_class */
		__u8 flags;  /* SERVICE_* */
	};
};
_Static_assert(sizeof(union service) == 8, "service");

enum backend_state { GONE = 0, ACTIVE = 1, TERMINATING = 2 };

#define BACKEND_LOCAL 1 /* on this node */

/* Written with `state` last; a backend's number may be used again as soon as it is gone. */
struct backend {
	struct address address;
	__be16 port;
	__u8 state; /* enum backend_state */
	__u8 flags; /* BACKEND_* */
	__u32 link; /* ifindex of the pod's device on the host; 0: deliver by the host's stack */
	__u64 pad;
};
_Static_assert(sizeof(struct backend) == 32, "backend");

/* Source and destination exactly as they stand in the packet, whoever sent it. */
struct tuple {
	struct address source;
	struct address destination;
	__be16 source_port;
	__be16 destination_port;
	__u8 protocol;
	__u8 side; /* enum side: who sent the packet */
	__u16 pad;
};
_Static_assert(sizeof(struct tuple) == 40, "tuple");

enum side { FROM_CLIENT = 0, FROM_BACKEND = 1 };

#define FIN_FROM_CLIENT  1
#define FIN_FROM_BACKEND 2
#define RESET            4
#define ANSWERED         8

/* One half of a flow: what its packets are rewritten to. Its other half is mirror(rewrite). */
struct flow {
	struct tuple rewrite; /* `side` is that of the key */
	__u32 backend;
	__u32 service;
	__u32 seen; /* last packet of either side, in ticks of 2^30 ns since boot */
	__u8 tcp;   /* FIN_*, RESET, ANSWERED */
	__u8 pad[3];
};
_Static_assert(sizeof(struct flow) == 56, "flow");

struct service_stats {
	__u64 packets; /* of both directions */
	__u64 bytes;
	__u64 flows; /* begun */
	__u64 drops;
};
_Static_assert(sizeof(struct service_stats) == 32, "service_stats");

struct table_small {
	__u32 backends[SMALL_TURNS];
};
struct table_medium {
	__u32 backends[MEDIUM_TURNS];
};
struct table_large {
	__u32 backends[LARGE_TURNS];
};

enum delivery { FAST = 0, STACK = 1 };

/* Read-only data `config`, set before load. */
struct config {
	struct address node_v4; /* source towards other nodes; all zero: there is none */
	struct address node_v6;
	__u16 first_port; /* source ports towards other nodes, machine byte order, inclusive */
	__u16 last_port;
	__u8 delivery;     /* enum delivery */
	__u8 many_uplinks; /* 1: a reply's device is looked up again after its source changed */
	__u16 layout;
};
_Static_assert(sizeof(struct config) == 40, "config");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_FRONTENDS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct frontend);
	__type(value, __u32); /* service */
} frontends SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_SERVICES);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, __u64); /* union service */
} services SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SMALL_SLOTS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct table_small);
} tables_small SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MEDIUM_SLOTS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct table_medium);
} tables_medium SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, LARGE_SLOTS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct table_large);
} tables_large SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MAX_BACKENDS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct backend);
} backends SEC(".maps");

/* The node's own addresses: a NodePort frontend answers on each of them. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_ADDRESSES);
	__type(key, struct address);
	__type(value, __u32);
} node_addresses SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, MAX_FLOWS);
	__type(key, struct tuple);
	__type(value, struct flow);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, REASONS);
	__type(key, __u32); /* enum reason */
	__type(value, __u64);
} counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MAX_SERVICES);
	__type(key, __u32); /* service */
	__type(value, struct service_stats);
} service_stats SEC(".maps");

/* For a moment after the only other node with a backend of a Service lost it: that backend. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_SERVICES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);   /* service */
	__type(value, __u32); /* backend */
} predecessors SEC(".maps");

/* How many flows needed so many candidates to get a source port: the alarm before exhaustion. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, PORT_TRIES + 1);
	__type(key, __u32);
	__type(value, __u64);
} port_tries SEC(".maps");

/* Where packets from `source` to `destination` left at `tick`; a processor has its own. */
struct known_hop {
	struct address source;
	struct address destination;
	__u8 link_destination[6];
	__u8 link_source[6];
	__u32 link;
	__u32 tick;
	__u32 pad;
};
_Static_assert(sizeof(struct known_hop) == 56, "known_hop has no holes");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, KNOWN_HOPS);
	__type(key, __u32);
	__type(value, struct known_hop);
} known_hops SEC(".maps");
