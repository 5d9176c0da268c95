"""NDP (RFC 4861, RFC 4862): codec and announcer."""
