"""onehop: a bare-metal load balancer that brings a client to the serving node in one hop."""

__version__ = "0.1.0"
