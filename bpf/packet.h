/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Decides: which packets the datapath reads at all, and what stands in them.
 * Assumes: an Ethernet device whose VLAN tag, if any, was taken off by the kernel.
 * Leaves:  everything it cannot read to the host, untouched.
 */
#pragma once

#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <linux/pkt_cls.h>

#include "maps.h"

/* A step's answer besides an enum reason: the packet is no business of ours. */
#define LEAVE (-1)

/* Lets the programs that others attached after ours see the packet too. */
#define PASS TC_ACT_UNSPEC
#define DROP TC_ACT_SHOT

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

/* The flags octet of a TCP header, after ports, sequence, acknowledgement and data offset. */
#define TCP_FLAGS_OFFSET 13

/* Longest that is read: Ethernet, IPv6, TCP. */
#define HEADERS (ETH_HLEN + sizeof(struct ipv6hdr) + sizeof(struct tcphdr))

struct packet {
	struct tuple tuple;
	__u32 length; /* of the frame, for the counters */
	int verdict;  /* for the kernel, once nothing refuses the packet */
	__u16 l4;     /* offset of the transport header in the frame */
	__u8 v6;
	__u8 ttl;
	__u8 tcp; /* flags octet; 0 for UDP */
	__u8 tos;
	__u8 ended; /* the table still holds the pair of an earlier connection on these ports */
	__u8 pad;
};

static __always_inline void *frame(const struct __sk_buff *skb)
{
	return (void *)(long)skb->data;
}

static __always_inline void *frame_end(const struct __sk_buff *skb)
{
	return (void *)(long)skb->data_end;
}

static __always_inline struct address v4_mapped(__be32 address)
{
	return (struct address){ .words = { 0, 0, bpf_htonl(0xffff), address } };
}

/* A connection's first packet; with ACK it would be the answer to one. */
static __always_inline int begins(const struct packet *packet)
{
	return (packet->tcp & (TCP_SYN | TCP_ACK)) == TCP_SYN;
}

static __always_inline int parse_v4(void *data, void *end, struct packet *packet)
{
	struct iphdr *ip = data + ETH_HLEN;

	if ((void *)(ip + 1) > end || ip->version != 4 || ip->ihl < 5)
		return MALFORMED;
	if (ip->protocol != IPPROTO_TCP && ip->protocol != IPPROTO_UDP)
		return LEAVE;
	if (ip->frag_off & bpf_htons(0x3fff)) /* more fragments, or an offset */
		return FRAGMENT;
	if (ip->ihl != 5)
		return IPV4_OPTIONS;
	packet->tuple.source = v4_mapped(ip->saddr);
	packet->tuple.destination = v4_mapped(ip->daddr);
	packet->tuple.protocol = ip->protocol;
	packet->l4 = ETH_HLEN + sizeof(*ip);
	packet->ttl = ip->ttl;
	packet->tos = ip->tos;
	packet->v6 = 0;
	return CONTINUE;
}

static __always_inline int is_extension(__u8 next)
{
	return next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING || next == IPPROTO_DSTOPTS ||
	       next == IPPROTO_AH || next == IPPROTO_MH;
}

static __always_inline int parse_v6(void *data, void *end, struct packet *packet)
{
	struct ipv6hdr *ip = data + ETH_HLEN;

	if ((void *)(ip + 1) > end || ip->version != 6)
		return MALFORMED;
	if (ip->nexthdr == IPPROTO_FRAGMENT)
		return FRAGMENT;
	if (is_extension(ip->nexthdr))
		return EXTENSION_HEADER;
	if (ip->nexthdr != IPPROTO_TCP && ip->nexthdr != IPPROTO_UDP)
		return LEAVE;
	__builtin_memcpy(&packet->tuple.source, &ip->saddr, sizeof(struct address));
	__builtin_memcpy(&packet->tuple.destination, &ip->daddr, sizeof(struct address));
	packet->tuple.protocol = ip->nexthdr;
	packet->l4 = ETH_HLEN + sizeof(*ip);
	packet->ttl = ip->hop_limit;
	packet->tos = 0;
	packet->v6 = 1;
	return CONTINUE;
}

/* `l4` is a constant at each call, so that the verifier can follow it. */
static __always_inline int parse_ports(void *l4, void *end, struct packet *packet)
{
	__be16 *ports = l4;

	if (l4 + sizeof(struct udphdr) > end)
		return MALFORMED;
	packet->tuple.source_port = ports[0];
	packet->tuple.destination_port = ports[1];
	packet->tcp = 0;
	packet->ended = 0;
	if (packet->tuple.protocol == IPPROTO_UDP)
		return CONTINUE;
	if (l4 + sizeof(struct tcphdr) > end)
		return MALFORMED;
	packet->tcp = ((__u8 *)l4)[TCP_FLAGS_OFFSET];
	return CONTINUE;
}

static __always_inline int parse_ip(struct __sk_buff *skb, struct packet *packet)
{
	void *data = frame(skb), *end = frame_end(skb);
	int reason;

	if (skb->protocol == bpf_htons(ETH_P_IP)) {
		reason = parse_v4(data, end, packet);
		if (reason)
			return reason;
		return parse_ports(data + ETH_HLEN + sizeof(struct iphdr), end, packet);
	}
	reason = parse_v6(data, end, packet);
	if (reason)
		return reason;
	return parse_ports(data + ETH_HLEN + sizeof(struct ipv6hdr), end, packet);
}

/* Brings the headers into the linear part; those that lie there already cost nothing. */
static __always_inline int pull_headers(struct __sk_buff *skb)
{
	__u32 headers = HEADERS;

	if (headers > skb->len)
		headers = skb->len;
	if (frame(skb) + headers <= frame_end(skb))
		return MALFORMED; /* there is nothing to bring: they end where the frame does */
	return bpf_skb_pull_data(skb, headers) ? MALFORMED : CONTINUE;
}

/*
 * Fills `packet` from the frame. CONTINUE: TCP or UDP, complete up to the ports, and the
 * headers lie in the linear part of the skb. Nothing more is brought there: a sender's payload
 * lies in pages, and a few of its bytes among the headers would make the receiver copy it twice.
 */
static __always_inline int parse(struct __sk_buff *skb, struct packet *packet)
{
	int reason;

	packet->verdict = PASS;
	packet->length = skb->len;
	packet->tuple.pad = 0;
	if (skb->vlan_present) /* belongs to the VLAN's device, which has a program if it is one */
		return LEAVE;
	if (skb->protocol != bpf_htons(ETH_P_IP) && skb->protocol != bpf_htons(ETH_P_IPV6))
		return LEAVE;
	reason = parse_ip(skb, packet);
	if (reason != MALFORMED || pull_headers(skb))
		return reason;
	return parse_ip(skb, packet);
}
