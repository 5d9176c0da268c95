/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Decides: the verdict, at three places: where clients' packets come in, where answers leave
 *          the node, and where they leave a local pod.
 * Assumes: lb_uplink_ingress and lb_uplink_egress on every uplink, lb_pod_ingress on the host's
 *          end of each local backend's device when delivery is fast.
 * Leaves:  everything that belongs to no service to the host, untouched.
 */
#include "maps.h"
#include "packet.h"
#include "tuple.h"
#include "service.h"
#include "flow.h"
#include "rewrite.h"

/* One exit for every program: a reason is counted once and becomes a verdict once. */
static __always_inline int verdict(const struct packet *packet, int reason)
{
	if (reason == CONTINUE)
		return packet->verdict;
	if (reason == LEAVE)
		return PASS;
	count(reason);
	return reason < FIRST_PASSED ? DROP : PASS;
}

/* Answers of remote backends come to our own address, at a port that no client may use. */
static __always_inline int may_answer_us(const struct packet *packet)
{
	__u16 port = bpf_ntohs(packet->tuple.destination_port);

	return port >= config.first_port && port <= config.last_port;
}

/* Turns an answer back into what the client expects, if it belongs to a flow. */
static __always_inline int undo(struct __sk_buff *skb, struct packet *packet)
{
	struct flow *flow;

	packet->tuple.side = FROM_BACKEND;
	flow = bpf_map_lookup_elem(&flows, &packet->tuple);
	if (!flow)
		return LEAVE;
	touch(packet, flow);
	return forward(skb, packet, &flow->rewrite);
}

static __always_inline int deliver(struct __sk_buff *skb, struct packet *packet,
				   const struct backend *backend, const struct tuple *to)
{
	const struct hop none = {};
	int reason;

	if (!(backend->flags & BACKEND_LOCAL))
		return forward(skb, packet, to);
	reason = rewrite(skb, packet, to, &none);
	if (!reason && config.delivery == FAST && backend->link)
		packet->verdict = bpf_redirect_peer(backend->link, 0);
	return reason;
}

/* A flow that is over, or whose backend is gone when it may choose again, counts as none. */
static __always_inline int follow(struct __sk_buff *skb, struct packet *packet)
{
	struct flow *flow = bpf_map_lookup_elem(&flows, &packet->tuple);
	struct backend *backend;

	if (!flow)
		return LEAVE;
	if ((begins(packet) && closed(flow)) || expired(flow)) {
		packet->ended = 1;
		return LEAVE;
	}
	backend = backend_of(flow);
	if (!backend) {
		if (!packet->tcp || begins(packet))
			return LEAVE;
		count_drop(flow->service);
		return BACKEND_GONE;
	}
	touch(packet, flow);
	return deliver(skb, packet, backend, &flow->rewrite);
}

/*
 * A client that has just learnt our address sends here what belongs to connections that began
 * on the node before us. Our backend would reset them; they go on where they began, whose node
 * answers to the client itself. It may be the last packet of a handshake.
 */
static __always_inline struct backend *begun_before(const struct packet *packet,
						    struct route *route)
{
	struct backend *backend;

	if (!packet->tcp || begins(packet))
		return NULL;
	backend = predecessor_of(route->service);
	if (!backend)
		return NULL;
	route->rewrite = packet->tuple;
	route->rewrite.destination = backend->address;
	route->rewrite.destination_port = backend->port;
	return backend;
}

/* The first packet of a flow, or one that the table has no memory of. */
static __always_inline int begin(struct __sk_buff *skb, struct packet *packet)
{
	struct route route = {};
	struct backend *backend;
	union service service;
	__u64 hash;
	int reason;

	reason = find_service(packet, &route.service, &service);
	if (reason)
		return reason;
	backend = begun_before(packet, &route);
	if (!backend) {
		hash = flow_hash(&packet->tuple);
		backend = pick_backend(service, hash, &route.id);
		reason = backend ? open_flow(packet, backend, hash, &route) : BACKEND_GONE;
	}
	if (reason) {
		count_drop(route.service);
		return reason;
	}
	count_service(route.service, packet);
	return deliver(skb, packet, backend, &route.rewrite);
}

static __always_inline int receive(struct __sk_buff *skb, struct packet *packet)
{
	int reason;

	if (skb->pkt_type) /* PACKET_HOST is 0; frames for others only pass by */
		return LEAVE;
	reason = parse(skb, packet);
	if (reason)
		return reason;
	if (may_answer_us(packet)) {
		reason = undo(skb, packet);
		if (reason != LEAVE)
			return reason;
	}
	packet->tuple.side = FROM_CLIENT;
	reason = follow(skb, packet);
	return reason == LEAVE ? begin(skb, packet) : reason;
}

/* On the uplink: from clients, and from remote backends. */
SEC("tc")
int lb_uplink_ingress(struct __sk_buff *skb)
{
	struct packet packet;

	return verdict(&packet, receive(skb, &packet));
}

/* In tc_index: the pod's program has turned this answer already, so the uplink's need not look. */
#define ANSWERED_HERE 0x0e0b

/* An answer that the host routed by the pod's address; the frontend's may leave elsewhere. */
static __always_inline int leave(struct __sk_buff *skb, struct packet *packet)
{
	struct hop hop = {};
	struct flow *flow;
	int reason;

	if (skb->tc_index == ANSWERED_HERE)
		return LEAVE;
	reason = parse(skb, packet);
	if (reason)
		return LEAVE; /* also fragments and the like: the node's own traffic is not counted */
	packet->tuple.side = FROM_BACKEND;
	flow = bpf_map_lookup_elem(&flows, &packet->tuple);
	if (!flow)
		return LEAVE;
	touch(packet, flow);
	if (config.many_uplinks) {
		reason = find_hop(skb, packet, &flow->rewrite, &hop);
		if (reason)
			return reason;
		if (hop.link == skb->ifindex)
			hop = (struct hop){};
	}
	reason = rewrite(skb, packet, &flow->rewrite, &hop);
	packet->verdict = send(&hop);
	return reason;
}

/* On the uplink, outwards: answers that came through the host's stack. */
SEC("tc")
int lb_uplink_egress(struct __sk_buff *skb)
{
	struct packet packet;

	return verdict(&packet, leave(skb, &packet));
}

static __always_inline int answer(struct __sk_buff *skb, struct packet *packet)
{
	int reason = parse(skb, packet) ? LEAVE : undo(skb, packet);

	if (reason == CONTINUE)
		skb->tc_index = ANSWERED_HERE;
	return reason;
}

/* On the host's end of a pod's device: answers go straight to the uplink, all else passes. */
SEC("tc")
int lb_pod_ingress(struct __sk_buff *skb)
{
	struct packet packet;

	return verdict(&packet, answer(skb, &packet));
}

/* The kernel lends its routing helpers to programs that name a GPL-compatible licence. */
char licence[] SEC("license") = "GPL";
