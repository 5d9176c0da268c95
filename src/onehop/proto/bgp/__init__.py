"""BGP-4 (RFC 4271): the codec of its messages, and the machine that holds a session."""
