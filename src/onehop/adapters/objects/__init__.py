"""Kubernetes objects to model values: shapes, checks and decoders that every store shares."""
