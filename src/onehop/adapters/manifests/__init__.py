"""The store as a folder of manifests: Kubernetes objects in YAML, watched; status beside them."""

from onehop.adapters.manifests.store import Manifests

__all__ = ["Manifests"]
