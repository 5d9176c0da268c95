"""BFD (RFC 5880), over one hop (RFC 5881) and over several (RFC 5883)."""
