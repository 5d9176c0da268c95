"""Kubernetes: objects from an API server, and what is written there."""
