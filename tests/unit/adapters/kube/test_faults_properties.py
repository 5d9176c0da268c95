"""Whatever goes wrong, in whatever order: in the end the store holds what the server does.

And what nobody changed is there all the while.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from onehop.adapters.kube.store import KubeStore
from onehop.model.objects import Objects
from onehop.model.service import Key
from tests.fakes.api_server import ApiServer, Plain
from tests.unit.adapters.kube.conftest import QUICK, access
from tests.unit.adapters.kube.objects import eventually, metallb, pool, service

KEPT = Key("shop", "kept")
NAMES = ("a", "b", "c")
PLURALS = ("services", "ipaddresspools", "bgppeers", "nodes")
HASTY = replace(QUICK, inactivity=0.3, spacing=0.0, first_pause=0.002, last_pause=0.02)


class World:
    """The server, and a backup of it."""

    def __init__(self) -> None:
        self.api = ApiServer()
        self.api.put(service("kept", "192.0.2.9"), pool("kept"))
        self.backup = (dict(self.api.objects), self.api.version)

    def put(self, name: str, number: int) -> None:
        self.api.put(self._made(name, number))

    @staticmethod
    def _made(name: str, number: int) -> Plain:
        if name == "b":
            return pool(name, f"192.0.2.{number}/32")
        if name == "c":
            spec = {"myASN": 64500 + number, "peerASN": 64501, "peerAddress": "192.0.2.1"}
            return metallb("BGPPeer", name, **spec)  # type: ignore[arg-type]
        return service(name, f"192.0.2.{number}")

    def delete(self, name: str, _: int) -> None:
        for kind, space, found in list(self.api.objects):
            if found == name:
                self.api.delete(kind, space, name)

    def refuse(self, name: str, number: int) -> None:
        plural = PLURALS[number % len(PLURALS)]
        code = {"a": 504, "b": 410, "c": 403}[name]
        self.api.answer(plural, code, times=1 + number % 3)
        self.api.end_watches()

    def hide(self, name: str, number: int) -> None:
        """A kind that is not served for a moment, or in its older version only."""
        if name == "a":
            self.api.missing.add(PLURALS[number % 2 + 1])
        elif name == "b":
            self.api.missing.clear()
        else:
            self.api.versions["bgppeers"] = f"metallb.io/v1beta{1 + number % 2}"
        self.api.end_watches()

    def forget(self, name: str, number: int) -> None:
        """Nobody hears of these changes but by a new list."""
        with self.api.changed:
            self.api.epoch += 1
            self.delete(name, number)
            self.put(NAMES[number % 3], number)
            self.api.compact()

    def cut(self, name: str, _: int) -> None:
        self.api.cut()
        self.api.cutting = name == "a"

    def silence(self, name: str, _: int) -> None:
        self.api.silence()
        self.api.silent = name == "a"

    def back_up(self, *_: object) -> None:
        self.backup = (dict(self.api.objects), self.api.version)

    def restore(self, name: str, number: int) -> None:
        """Versions come a second time, and mean something else."""
        self.api.stop()
        self.api.go_back(*self.backup)
        self.api.oldest = 0
        self.put(name, number)
        self.api.start()

    def restart(self, name: str, number: int) -> None:
        self.api.stop()
        self.delete(name, number)
        self.put(NAMES[number % 3], number)
        self.api.start()

    def heal(self) -> None:
        self.api.cutting = self.api.silent = False
        self.api.ordered.clear()
        self.api.missing.clear()

    def names(self) -> set[str]:
        wanted = ("Service", "IPAddressPool", "BGPPeer")
        return {f"{name} {self.said(kind, body)}" for (kind, _, name), body
                in self.api.objects.items() if kind in wanted}  # fmt: skip

    @staticmethod
    def said(kind: str, body: Plain) -> str:
        if kind == "Service":
            return str(body["status"]["loadBalancer"]["ingress"][0]["ip"])
        if kind == "BGPPeer":
            return str(body["spec"]["myASN"])
        return str(body["spec"]["addresses"][0].partition("/")[0])


def held(objects: Objects) -> set[str]:
    return {
        *(f"{key.name} {value.ingress[0]}" for key, value in objects.services.items()),
        *(f"{key.name} {value.my_asn}" for key, value in objects.bgp_peers.items()),
        *(f"{key.name} {value.ranges[0].first}" for key, value in objects.pools.items()),
    }


STEPS: dict[str, Callable[[World, str, int], object]] = {
    name: getattr(World, name)
    for name in ("put", "delete", "refuse", "hide", "forget", "cut", "silence", "back_up",
                 "restore", "restart")
}  # fmt: skip


@settings(max_examples=15)
@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(STEPS)), st.sampled_from(NAMES), st.integers(1, 9)),
        max_size=12,
    )
)
def test_in_the_end_the_store_holds_what_the_server_does(
    steps: list[tuple[str, str, int]],
) -> None:
    world = World()
    try:
        store = KubeStore(
            access(world.api), namespace="metallb-system", timing=HASTY, patience=15.0
        )
        with closing(store):
            store.refresh()
            kept = store.objects().services[KEPT], store.objects().pools
            for name, which, number in steps:
                STEPS[name](world, which, number)
                store.refresh()
                assert store.objects().services[KEPT] is kept[0], name
                assert Key("metallb-system", "kept") in store.objects().pools, name
            world.heal()
            eventually(store, lambda o: held(o) == world.names() and not o.problems)
            assert store.staleness() == 0
    finally:
        world.api.stop()
