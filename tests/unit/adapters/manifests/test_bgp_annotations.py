"""What a BGPPeer is asked for by annotations, and every value of them that is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from onehop.adapters.manifests import Manifests
from onehop.model.bgp import AuthenticationOption, BGPPeer, Role
from onehop.model.objects import Objects
from onehop.model.reason import Reason
from onehop.model.service import Key
from tests.unit.adapters.manifests.texts import read

LEAST = "myASN: 64512, peerASN: 64513, peerAddress: 192.0.2.1"


def asked(store: Manifests, folder: Path, name: str, text: str, spec: str = LEAST) -> Objects:
    annotations = f"{{onehop.io/{name}: '{text}'}}"
    metadata = f"{{name: x, namespace: metallb-system, annotations: {annotations}}}"
    head = "apiVersion: metallb.io/v1beta2\nkind: BGPPeer\n"
    return read(store, folder, f"{head}metadata: {metadata}\nspec: {{{spec}}}\n")


def the_peer(objects: Objects) -> BGPPeer:
    assert objects.problems == ()
    return objects.bgp_peers[Key("metallb-system", "x")]


def keys(name: str, send: int, receive: int) -> AuthenticationOption:
    return AuthenticationOption(
        secret=Key("metallb-system", name), send_id=send, receive_id=receive
    )


@pytest.mark.parametrize(
    ("name", "text", "field", "value"),
    [
        ("ttl-security", "1", "ttl_security", 1),
        ("ttl-security", "255", "ttl_security", 255),
        ("passive", "true", "passive", True),
        ("passive", "false", "passive", False),
        ("role", "provider", "role", Role.PROVIDER),
        ("role", "route-server", "role", Role.ROUTE_SERVER),
        ("role", "route-server-client", "role", Role.ROUTE_SERVER_CLIENT),
        ("role", "customer", "role", Role.CUSTOMER),
        ("role", "peer", "role", Role.PEER),
        ("tcp-ao", "router-key", "authentication", keys("router-key", 1, 1)),
        ("tcp-ao", "router-key:7", "authentication", keys("router-key", 7, 7)),
        ("tcp-ao", "router-key:0:255", "authentication", keys("router-key", 0, 255)),
    ],
)
def test_what_is_asked_for_is_known(
    store: Manifests, folder: Path, name: str, text: str, field: str, value: object
) -> None:
    assert getattr(the_peer(asked(store, folder, name, text)), field) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(("ttl-security", text) for text in ("0", "256", "on", "", "\u0661")),
        *(("passive", text) for text in ("yes", "True", "1")),
        *(("role", text) for text in ("", "Customer", "rs", "route_server")),
        *(("long-lived-stale-time", text) for text in ("0", "16777216", "1h", "", "-1")),
        *(("tcp-ao", text) for text in ("", ":1", "k:256", "k:x", "k:1:2:3", "k:", "k:-1")),
    ],
)
def test_what_nobody_could_mean_is_refused(
    store: Manifests, folder: Path, name: str, text: str
) -> None:
    found = asked(store, folder, name, text)
    (problem,) = found.problems
    assert (problem.field, problem.reason) == (
        f"metadata.annotations[onehop.io/{name}]",
        Reason.FIELD_INVALID,
    )
    assert found.bgp_peers == {}


@pytest.mark.parametrize(
    "spec",
    [
        "myASN: 64512, peerASN: 64512, peerAddress: 192.0.2.1",
        "myASN: 64512, dynamicASN: internal, peerAddress: 192.0.2.1",
    ],
)
def test_a_role_is_for_another_as(store: Manifests, folder: Path, spec: str) -> None:
    """RFC 9234 4.1."""
    (problem,) = asked(store, folder, "role", "peer", spec).problems
    assert problem.detail == "is for a peer in another AS, not in myASN"


@pytest.mark.parametrize("other", ["password: x", "passwordSecret: {name: y}"])
def test_one_signature_excludes_the_other(store: Manifests, folder: Path, other: str) -> None:
    (problem,) = asked(store, folder, "tcp-ao", "k", f"{LEAST}, {other}").problems
    assert problem.detail == "cannot stand beside a password: TCP has one signature or the other"


def test_a_long_life_needs_a_graceful_restart(store: Manifests, folder: Path) -> None:
    """RFC 9494 3.1."""
    name, restarts = "long-lived-stale-time", f"{LEAST}, enableGracefulRestart: true"
    assert the_peer(asked(store, folder, name, "16777215", restarts)).stale_time == 16777215
    (problem,) = asked(store, folder, name, "3600").problems
    assert problem.detail == "is for a peer with enableGracefulRestart"
