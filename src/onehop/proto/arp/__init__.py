"""ARP (RFC 826, RFC 5227): codec and announcer."""
