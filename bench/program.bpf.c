/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The datapath with a packet that is made anew before each run: a test run repeats a program on
 * one packet, and ours rewrites it. `bench_make` makes the packet and does nothing else.
 */
#include "../bpf/lb.bpf.c"

struct load {
	__u32 services;
	__u32 flows; /* in all; 0: every packet begins a new one */
	__u64 stride;  /* prime to `flows`: the order in which they come */
};

const volatile struct load load = { .services = 1, .flows = 1, .stride = 1 };
__u64 packets = 0;

/* Packet n: the client's address and port say which flow, the destination which service. */
static __always_inline int make(struct __sk_buff *skb)
{
	void *data = frame(skb), *end = frame_end(skb);
	struct iphdr *ip = data + ETH_HLEN;
	__be16 *ports = (void *)(ip + 1);
	__u64 number = packets++ * load.stride;

	if ((void *)(ports + 2) > end)
		return 0;
	if (load.flows)
		number %= load.flows;
	ip->saddr = bpf_htonl(0xc6336400 + (number >> 15));
	ip->daddr = bpf_htonl(0x0a600000 + (__u32)number % load.services);
	ip->ttl = 64;
	ports[0] = bpf_htons(1024 + (number & 0x7fff));
	ports[1] = bpf_htons(9096);
	return 1;
}

SEC("tc")
int bench_nothing(struct __sk_buff *skb)
{
	(void)skb;
	return PASS;
}

SEC("tc")
int bench_make(struct __sk_buff *skb)
{
	return make(skb) ? PASS : DROP;
}

SEC("tc")
int bench_run(struct __sk_buff *skb)
{
	struct packet packet;

	return make(skb) ? verdict(&packet, receive(skb, &packet)) : DROP;
}
