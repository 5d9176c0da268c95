/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Decides: how the bytes of a packet change, and by which device it leaves.
 * Assumes: a packet that parse() has read and nobody has changed since.
 * Leaves:  which tuple it changes to, to flow.h.
 */
#pragma once

#include "flow.h"

#define AF_INET  2
#define AF_INET6 10

/* Newer than the headers we build with; kernels before 6.16 refuse it. */
#define CHECKSUM_OF_IPV6 (1ULL << 7)

/* How a packet goes on; all zero: its frame and hop count stay as they are. */
struct hop {
	__u8 destination[ETH_ALEN];
	__u8 source[ETH_ALEN];
	__u8 resolved; /* the link-layer addresses above are known */
	__u8 routed;   /* counts as a hop */
	__u16 pad;
	__u32 link;
};

static __always_inline __u32 fold32(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	return (sum & 0xffffffff) + (sum >> 32);
}

static __always_inline __u16 fold16(__u64 sum)
{
	__u32 folded = fold32(sum);

	folded = (folded & 0xffff) + (folded >> 16);
	return (folded & 0xffff) + (folded >> 16);
}

/* What replacing one word or port by another adds to a ones' complement sum (RFC 1624). */
static __always_inline __u64 replaced(__be32 old, __be32 new)
{
	return (__u64)(__u32)~old + new;
}

static __always_inline __u64 replaced_port(__be16 old, __be16 new)
{
	return (__u64)(__u16)~old + new;
}

static __always_inline void rewrite_frame(void *data, const struct hop *hop)
{
	struct ethhdr *ethernet = data;

	__builtin_memcpy(ethernet->h_dest, hop->destination, ETH_ALEN);
	__builtin_memcpy(ethernet->h_source, hop->source, ETH_ALEN);
}

/* Writes addresses and hop count; returns what the addresses add to the transport's sum. */
static __always_inline __u64 rewrite_v4(struct iphdr *ip, const struct tuple *to, __u8 hops)
{
	__be32 source = to->source.words[3], destination = to->destination.words[3];
	__u64 sum = replaced(ip->saddr, source) + replaced(ip->daddr, destination);
	__u64 header = (__u16)~ip->check + sum;

	ip->saddr = source;
	ip->daddr = destination;
	header += replaced_port(bpf_htons(ip->ttl << 8), bpf_htons((ip->ttl - hops) << 8));
	ip->ttl -= hops;
	ip->check = ~fold16(header);
	return sum;
}

static __always_inline __u64 rewrite_v6(struct ipv6hdr *ip, const struct tuple *to, __u8 hops)
{
	struct address *source = (void *)&ip->saddr, *destination = (void *)&ip->daddr;
	__u64 sum = 0;

#pragma unroll
	for (int i = 0; i < 4; i++) {
		sum += replaced(source->words[i], to->source.words[i]);
		sum += replaced(destination->words[i], to->destination.words[i]);
		source->words[i] = to->source.words[i];
		destination->words[i] = to->destination.words[i];
	}
	ip->hop_limit -= hops;
	return sum;
}

static __always_inline __u64 rewrite_ports(__be16 *ports, const struct tuple *to)
{
	__u64 sum;

	if (ports[0] == to->source_port && ports[1] == to->destination_port)
		return 0; /* often: most pods listen at the port of their Service */
	sum = replaced_port(ports[0], to->source_port) +
	      replaced_port(ports[1], to->destination_port);
	ports[0] = to->source_port;
	ports[1] = to->destination_port;
	return sum;
}

/*
 * Corrects the transport checksum. The helper knows whether the field holds a whole checksum or
 * only the pseudo header's part that hardware completes (where ports do not count), so the two
 * sums are told apart. It cannot fail here: the header was just written to.
 */
static __always_inline void rewrite_checksum(struct __sk_buff *skb, const struct packet *packet,
					     __u64 addresses, __u64 ports)
{
	int udp = packet->tuple.protocol == IPPROTO_UDP;
	__u32 at = packet->l4 + (udp ? __builtin_offsetof(struct udphdr, check)
				     : __builtin_offsetof(struct tcphdr, check));
	__u64 flags = udp ? BPF_F_MARK_MANGLED_0 : 0; /* none stays none, and zero is not none */
	__u32 pseudo = fold32(addresses);

	if (!packet->v6 ||
	    bpf_l4_csum_replace(skb, at, 0, pseudo, flags | BPF_F_PSEUDO_HDR | CHECKSUM_OF_IPV6))
		bpf_l4_csum_replace(skb, at, 0, pseudo, flags | BPF_F_PSEUDO_HDR);
	if (ports)
		bpf_l4_csum_replace(skb, at, 0, fold32(ports), flags);
}

/* Turns the packet into `to`. Packet pointers are invalid afterwards. */
static __always_inline int rewrite(struct __sk_buff *skb, const struct packet *packet,
				   const struct tuple *to, const struct hop *hop)
{
	void *data = frame(skb), *end = frame_end(skb);
	__u64 addresses, ports;

	if (packet->v6) {
		struct ipv6hdr *ip = data + ETH_HLEN;
		if ((void *)(ip + 1) + 4 > end)
			return MALFORMED;
		addresses = rewrite_v6(ip, to, hop->routed);
		ports = rewrite_ports((void *)(ip + 1), to);
	} else {
		struct iphdr *ip = data + ETH_HLEN;
		if ((void *)(ip + 1) + 4 > end)
			return MALFORMED;
		addresses = rewrite_v4(ip, to, hop->routed);
		ports = rewrite_ports((void *)(ip + 1), to);
	}
	if (hop->resolved)
		rewrite_frame(data, hop);
	rewrite_checksum(skb, packet, addresses, ports);
	return CONTINUE;
}

/* Asks the routing table about `to`; the length stays 0, or it would refuse large segments. */
static __always_inline long look_up(struct __sk_buff *skb, const struct packet *packet,
				    const struct tuple *to, struct bpf_fib_lookup *fib)
{
	fib->family = packet->v6 ? AF_INET6 : AF_INET;
	fib->l4_protocol = to->protocol;
	fib->sport = to->source_port;
	fib->dport = to->destination_port;
	fib->ifindex = skb->ifindex;
	if (packet->v6) {
		__builtin_memcpy(fib->ipv6_src, &to->source, sizeof(struct address));
		__builtin_memcpy(fib->ipv6_dst, &to->destination, sizeof(struct address));
	} else {
		fib->tos = packet->tos;
		fib->ipv4_src = to->source.words[3];
		fib->ipv4_dst = to->destination.words[3];
	}
	return bpf_fib_lookup(skb, fib, sizeof(*fib), 0);
}

/*
 * A look at the routing table is half the cost of an answer. What it says of two addresses is
 * kept for a tick of 2^27 ns: a neighbour or route that changed is followed 134 ms later.
 */
static __always_inline __u32 hop_tick(void)
{
	return bpf_ktime_get_coarse_ns() >> 27;
}

static __always_inline struct known_hop *known_hop(const struct tuple *to)
{
	__u64 hash = to->destination.halves[0] ^ to->destination.halves[1] ^
		     to->source.halves[1] * MIX_WORD;
	__u32 at = (hash * MIX_FINAL >> 40) & (KNOWN_HOPS - 1);

	return bpf_map_lookup_elem(&known_hops, &at);
}

/* The next hop towards `to`. A `link` of 0: the host's stack must route it. */
static __noinline int ask_hop(struct __sk_buff *skb, const struct packet *packet,
			       const struct tuple *to, struct hop *hop)
{
	struct bpf_fib_lookup fib = {};
	long answer = look_up(skb, packet, to, &fib);

	switch (answer) {
	case BPF_FIB_LKUP_RET_SUCCESS:
		__builtin_memcpy(hop->destination, fib.dmac, ETH_ALEN);
		__builtin_memcpy(hop->source, fib.smac, ETH_ALEN);
		hop->resolved = 1;
		hop->link = fib.ifindex;
		return CONTINUE;
	case BPF_FIB_LKUP_RET_NO_NEIGH:
		hop->link = fib.ifindex;
		return CONTINUE;
	case BPF_FIB_LKUP_RET_BLACKHOLE:
	case BPF_FIB_LKUP_RET_UNREACHABLE:
	case BPF_FIB_LKUP_RET_PROHIBIT:
		return NO_ROUTE;
	default:
		return CONTINUE;
	}
}

static __always_inline int find_hop(struct __sk_buff *skb, const struct packet *packet,
				    const struct tuple *to, struct hop *hop)
{
	struct known_hop *known = known_hop(to);
	__u32 tick = hop_tick();
	int reason;

	if (known && known->tick == tick && same_address(&known->destination, &to->destination) &&
	    same_address(&known->source, &to->source)) {
		__builtin_memcpy(hop->destination, known->link_destination, ETH_ALEN);
		__builtin_memcpy(hop->source, known->link_source, ETH_ALEN);
		hop->link = known->link;
		hop->resolved = 1;
		return CONTINUE;
	}
	reason = ask_hop(skb, packet, to, hop);
	if (known && !reason && hop->resolved) {
		known->source = to->source;
		known->destination = to->destination;
		__builtin_memcpy(known->link_destination, hop->destination, ETH_ALEN);
		__builtin_memcpy(known->link_source, hop->source, ETH_ALEN);
		known->link = hop->link;
		known->tick = tick;
	}
	return reason;
}

/* A neighbour that is not known yet is asked for by the kernel, which keeps the packet. */
static __always_inline int send(const struct hop *hop)
{
	if (!hop->link)
		return PASS;
	return hop->resolved ? bpf_redirect(hop->link, 0) : bpf_redirect_neigh(hop->link, NULL, 0, 0);
}

/* Rewrites the packet and forwards it as a router would. */
static __always_inline int forward(struct __sk_buff *skb, struct packet *packet,
				   const struct tuple *to)
{
	struct hop hop = {};
	int reason;

	if (packet->ttl <= 1)
		return TTL_EXPIRED;
	reason = find_hop(skb, packet, to, &hop);
	if (reason)
		return reason;
	hop.routed = hop.link != 0; /* otherwise the stack counts it */
	reason = rewrite(skb, packet, to, &hop);
	packet->verdict = send(&hop);
	return reason;
}
