"""Manifests for tests, short enough to see what differs."""

from __future__ import annotations


def a_namespace(name: str, team: str = "blue") -> str:
    return (
        f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {{team: {team}}}}}\n"
    )


def a_service(name: str = "web", *, policy: str = "Cluster", extra: str = "") -> str:
    return (
        f"apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\n"
        f"spec:\n  type: LoadBalancer\n  clusterIP: 10.96.0.1\n"
        f"  externalTrafficPolicy: {policy}\n  ports: [{{name: http, port: 80}}]\n{extra}"
    )


def documents(*texts: str) -> str:
    return "---\n".join(texts)
