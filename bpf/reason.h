/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * Decides: the name and number of everything the datapath refuses or leaves alone.
 * Assumes: `DATAPATH` in src/onehop/model/reason.py holds the same names in the same order.
 * Leaves:  the sentence for a person to that file; the verdict to the entry points.
 */
#pragma once

enum reason {
	CONTINUE = 0, /* nothing to refuse: go on; its counter stays zero */

	/* dropped */
	NO_ENDPOINTS,      /* the frontend has no backend in the whole cluster */
	NO_LOCAL_ENDPOINT, /* the frontend's policy is Local and nothing is local */
	BACKEND_GONE,      /* a TCP flow, past its SYN, belongs to a backend that is gone */
	PORTS_EXHAUSTED,   /* every candidate source port towards the backend is taken */
	NO_NODE_ADDRESS,   /* no address of this family to send from to another node */
	FLOWS_FULL,        /* the flow table took no new entry */
	NO_ROUTE,          /* the routing table refuses the destination */
	TTL_EXPIRED,       /* the packet may not be forwarded any further */

	/* passed to the host untouched, and counted */
	FRAGMENT,         /* an IP fragment */
	IPV4_OPTIONS,       /* an IPv4 header with options */
	EXTENSION_HEADER, /* an IPv6 header with extension headers */
	MALFORMED,        /* lengths or versions that contradict each other */

	REASONS
};

/* Everything before it drops the packet. */
#define FIRST_PASSED FRAGMENT
