"""Linux: links, raw frames, namespaces."""
