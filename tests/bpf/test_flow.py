"""Flows: two halves that mirror each other, made, kept, lost and rebuilt."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from onehop.adapters.bpf.syscall import MapInfo, MapType
from tests.bpf.conftest import ROUTER_MAC, UPLINK_MAC
from tests.bpf.kernel import (
    ANSWERED,
    DROP,
    FIN_FROM_BACKEND,
    FIN_FROM_CLIENT,
    GONE,
    PASS,
    REDIRECT,
    RESET,
    TERMINATING,
    Backend,
    Flow,
    Kernel,
    Tuple,
    earlier,
    ticks,
)
from tests.bpf.packets import ACK, FIN, RST, SYN, UDP, Packet

pytestmark = pytest.mark.root

CLIENT, VIP, POD, OTHER = "198.51.100.7", "192.0.2.241", "10.244.1.5", "10.244.1.6"
HELLO = Packet(source=CLIENT, sport=40000, destination=VIP, dport=9096, flags=SYN)
DATA = replace(HELLO, flags=ACK)
ANSWER = Packet(source=POD, sport=9092, destination=CLIENT, dport=40000, flags=SYN | ACK)
BACKEND = Backend(address=POD, port=9092)
ROUTED = {
    "to_mac": bytes.fromhex(ROUTER_MAC.replace(":", "")),
    "from_mac": bytes.fromhex(UPLINK_MAC.replace(":", "")),
}
UNDONE = replace(ANSWER, source=VIP, sport=9096)

FORTH, BACK = Tuple.of(HELLO), Tuple.of(ANSWER, side=1)


def halves(kernel: Kernel) -> tuple[Flow, Flow]:
    forth, back = kernel.flow(FORTH), kernel.flow(BACK)
    assert forth is not None
    assert back is not None
    return forth, back


def age(kernel: Kernel, seconds: int) -> None:
    """Let both halves be last seen so long ago (a tick is 1.07 s)."""
    for key, flow in kernel.flows().items():
        kernel.write_flow(key, replace(flow, seen=earlier(flow, seconds)))


class TestAnswers:
    @pytest.fixture(autouse=True)
    def _flow(self, kernel: Kernel) -> None:
        kernel.serve(VIP, 9096, [BACKEND])
        kernel.uplink(HELLO)

    def test_leave_the_pod_in_the_frontends_name(self, kernel: Kernel) -> None:
        expected = replace(UNDONE, ttl=63, **ROUTED)
        assert kernel.pod(ANSWER) == (REDIRECT, expected.frame())

    def test_leave_the_uplink_in_the_frontends_name(self, kernel: Kernel) -> None:
        assert kernel.egress(ANSWER) == (PASS, UNDONE.frame())

    def test_of_another_port_are_no_answers(self, kernel: Kernel) -> None:
        stranger = replace(ANSWER, sport=9093)
        assert kernel.pod(stranger) == (PASS, stranger.frame())
        assert kernel.egress(stranger) == (PASS, stranger.frame())

    def test_a_client_cannot_speak_in_the_pods_name(self, kernel: Kernel) -> None:
        assert kernel.uplink(ANSWER) == (PASS, ANSWER.frame())

    def test_count_for_the_service(self, kernel: Kernel) -> None:
        kernel.pod(ANSWER)
        sizes = len(HELLO.frame()) + len(ANSWER.frame())
        assert kernel.stats(0) == (2, sizes, 1, 0)

    def test_at_their_last_hop_are_dropped(self, kernel: Kernel) -> None:
        assert kernel.pod(replace(ANSWER, ttl=1))[0] == DROP
        assert kernel.counters() == {"TTL_EXPIRED": 1}

    def test_to_a_client_no_route_leads_to(self, kernel: Kernel) -> None:
        lost = replace(HELLO, source="203.0.113.9")
        kernel.uplink(lost)
        assert kernel.pod(replace(ANSWER, destination="203.0.113.9"))[0] == DROP
        assert kernel.counters() == {"NO_ROUTE": 1}


class TestManyUplinks:
    """Loopback stands for the uplink that the host chose by the pod's address."""

    @pytest.fixture
    def many(self, namespace: None) -> Iterator[Kernel]:
        kernel = Kernel(many_uplinks=True)
        kernel.serve(VIP, 9096, [BACKEND])
        yield kernel
        kernel.close()

    def test_the_answer_goes_by_the_frontends_route(self, many: Kernel) -> None:
        many.uplink(HELLO)
        assert many.egress(ANSWER) == (REDIRECT, replace(UNDONE, **ROUTED).frame())

    def test_it_stays_on_the_device_that_the_route_names(self, many: Kernel) -> None:
        many.uplink(HELLO)
        after = many.run_on("lb_uplink_egress", ANSWER, "uplink")
        assert after == (PASS, UNDONE.frame())

    def test_it_is_dropped_where_the_route_refuses(self, many: Kernel) -> None:
        many.uplink(replace(HELLO, source="203.0.113.9"))
        assert many.egress(replace(ANSWER, destination="203.0.113.9"))[0] == DROP
        assert many.counters() == {"NO_ROUTE": 1}


class TestState:
    @pytest.fixture(autouse=True)
    def _flow(self, kernel: Kernel) -> None:
        kernel.serve(VIP, 9096, [BACKEND])
        kernel.uplink(HELLO)

    def test_both_halves_learn_what_either_sees(self, kernel: Kernel) -> None:
        steps = (
            ("pod", ANSWER, ANSWERED),
            ("uplink", replace(DATA, flags=FIN | ACK), ANSWERED | FIN_FROM_CLIENT),
            (
                "pod",
                replace(ANSWER, flags=FIN | ACK),
                ANSWERED | FIN_FROM_CLIENT | FIN_FROM_BACKEND,
            ),
        )
        for program, packet, expected in steps:
            getattr(kernel, program)(packet)
            assert [half.tcp for half in halves(kernel)] == [expected] * 2

    def test_a_reset_of_either_side_closes(self, kernel: Kernel) -> None:
        kernel.uplink(replace(DATA, flags=RST))
        assert all(half.tcp & RESET for half in halves(kernel))

    def test_seen_is_written_once_a_tick_and_in_both(self, kernel: Kernel) -> None:
        age(kernel, 5)
        kernel.uplink(DATA)
        assert all(half.seen >= ticks() - 1 for half in halves(kernel))

    @pytest.mark.parametrize(
        ("tcp", "seconds", "reopened"),
        [
            (0, 50, False),
            (0, 62, True),
            (ANSWERED, 7000, False),
            (ANSWERED, 8001, True),
            (ANSWERED | FIN_FROM_CLIENT, 7000, False),
            (ANSWERED | FIN_FROM_CLIENT | FIN_FROM_BACKEND, 5, False),
            (ANSWERED | FIN_FROM_CLIENT | FIN_FROM_BACKEND, 12, True),
            (RESET, 12, True),
        ],
    )
    def test_idle_for_so_long_it_is_another_flow(
        self, kernel: Kernel, tcp: int, seconds: int, reopened: bool
    ) -> None:
        for key, flow in kernel.flows().items():
            kernel.write_flow(key, replace(flow, tcp=tcp, seen=earlier(flow, seconds)))
        kernel.uplink(DATA)
        assert kernel.stats(0)[2] == 1 + reopened

    @pytest.mark.parametrize(
        ("tcp", "reopened"),
        [
            (0, False),
            (ANSWERED, False),
            (ANSWERED | FIN_FROM_CLIENT, False),
            (ANSWERED | FIN_FROM_CLIENT | FIN_FROM_BACKEND, True),
            (RESET, True),
        ],
    )
    def test_a_syn_reopens_what_was_closed(self, kernel: Kernel, tcp: int, reopened: bool) -> None:
        for key, flow in kernel.flows().items():
            kernel.write_flow(key, replace(flow, tcp=tcp))
        kernel.uplink(HELLO)
        assert kernel.stats(0)[2] == 1 + reopened
        assert [half.tcp for half in halves(kernel)] == [0 if reopened else tcp] * 2


@pytest.mark.parametrize(("seconds", "flows"), [(50, 1), (62, 2)])
def test_a_udp_flow_is_idle_after_a_minute(kernel: Kernel, seconds: int, flows: int) -> None:
    kernel.serve(VIP, 9096, [BACKEND], protocol=UDP)
    packet = replace(HELLO, protocol=UDP)
    kernel.uplink(packet)
    age(kernel, seconds)
    kernel.uplink(packet)
    assert kernel.stats(0)[2] == flows


class TestLostHalf:
    @pytest.fixture(autouse=True)
    def _flow(self, kernel: Kernel) -> None:
        kernel.serve(VIP, 9096, [BACKEND])
        kernel.uplink(HELLO)
        kernel.pod(ANSWER)

    def test_a_request_writes_the_answers_half_again(self, kernel: Kernel) -> None:
        before = halves(kernel)
        kernel.forget(BACK)
        age(kernel, 2)
        kernel.uplink(DATA)
        assert [half.rewrite for half in halves(kernel)] == [half.rewrite for half in before]
        assert halves(kernel)[1].tcp == ANSWERED

    def test_an_answer_writes_the_requests_half_again(self, kernel: Kernel) -> None:
        before = halves(kernel)
        kernel.forget(FORTH)
        age(kernel, 2)
        kernel.pod(replace(ANSWER, flags=ACK))
        assert [half.rewrite for half in halves(kernel)] == [half.rewrite for half in before]

    def test_a_request_without_its_half_finds_the_same_pair(self, kernel: Kernel) -> None:
        before = halves(kernel)
        kernel.forget(FORTH)
        assert kernel.uplink(DATA)[0] == REDIRECT
        assert [half.rewrite for half in halves(kernel)] == [half.rewrite for half in before]

    def test_with_both_lost_an_answered_connection_lives_as_one(self, kernel: Kernel) -> None:
        """Fail-over: another node had the handshake."""
        kernel.forget(FORTH)
        kernel.forget(BACK)
        assert kernel.uplink(DATA)[0] == REDIRECT
        assert halves(kernel)[0].tcp == ANSWERED

    def test_a_half_whose_other_place_is_taken_opens_anew(self, kernel: Kernel) -> None:
        stranger = Tuple.of(replace(HELLO, destination="192.0.2.242")).mirror
        kernel.write_flow(
            BACK, Flow(rewrite=stranger, backend=0, service=0, seen=ticks(), tcp=ANSWERED)
        )
        age(kernel, 2)
        kernel.uplink(DATA)
        assert kernel.flow(FORTH) is None
        assert kernel.uplink(DATA)[0] == REDIRECT
        forth = kernel.flow(FORTH)
        assert forth is not None
        assert forth.rewrite.sport != 40000
        assert kernel.flow(forth.rewrite.mirror) is not None


class TestClash:
    """The same client and port at two frontends of one pod: one answer would mean two."""

    @pytest.fixture(autouse=True)
    def _flows(self, kernel: Kernel) -> None:
        for address in (VIP, "192.0.2.242"):
            kernel.serve(address, 9096, [BACKEND])
        kernel.uplink(HELLO)

    def test_the_second_takes_a_port_in_the_clients_name(self, kernel: Kernel) -> None:
        second = replace(HELLO, destination="192.0.2.242")
        verdict, after = kernel.uplink(second)
        flow = kernel.flow(Tuple.of(second))
        assert flow is not None
        port = flow.rewrite.sport
        assert 49152 <= port <= 65535
        expected = replace(second, sport=port, destination=POD, dport=9092)
        assert (verdict, after) == (REDIRECT, expected.frame())
        answer = replace(ANSWER, dport=port)
        undone = replace(answer, source="192.0.2.242", sport=9096, dport=40000, ttl=63, **ROUTED)
        assert kernel.pod(answer) == (REDIRECT, undone.frame())
        assert kernel.pod(ANSWER)[1] == replace(UNDONE, ttl=63, **ROUTED).frame()

    def test_a_second_that_lost_its_half_finds_its_port(self, kernel: Kernel) -> None:
        second = replace(HELLO, destination="192.0.2.242")
        kernel.uplink(second)
        before = kernel.flow(Tuple.of(second))
        kernel.forget(Tuple.of(second))
        kernel.uplink(replace(second, flags=ACK))
        after = kernel.flow(Tuple.of(second))
        assert before is not None
        assert after is not None
        assert after.rewrite == before.rewrite

    def test_a_first_that_ended_makes_room(self, kernel: Kernel) -> None:
        kernel.uplink(replace(DATA, flags=RST))
        age(kernel, 12)
        second = replace(HELLO, destination="192.0.2.242")
        kernel.uplink(second)
        flow = kernel.flow(Tuple.of(second))
        assert flow is not None
        assert flow.rewrite.sport == 40000


class TestBackendChanges:
    def test_a_connection_to_a_backend_that_is_gone_is_dropped(self, kernel: Kernel) -> None:
        kernel.serve(VIP, 9096, [BACKEND])
        kernel.uplink(HELLO)
        kernel.write_backend(0, replace(BACKEND, state=GONE))
        assert kernel.uplink(DATA)[0] == DROP
        assert kernel.counters() == {"BACKEND_GONE": 1}
        assert kernel.stats(0)[3] == 1

    def test_a_terminating_backend_keeps_its_connections(self, kernel: Kernel) -> None:
        kernel.serve(VIP, 9096, [BACKEND])
        kernel.uplink(HELLO)
        kernel.write_backend(0, replace(BACKEND, state=TERMINATING))
        assert kernel.uplink(DATA)[0] == REDIRECT

    @pytest.mark.parametrize("packet", [HELLO, replace(HELLO, protocol=UDP)], ids=["SYN", "UDP"])
    @pytest.mark.parametrize("change", ["gone", "another in its number"])
    def test_what_may_choose_again_does(self, kernel: Kernel, packet: Packet, change: str) -> None:
        kernel.serve(VIP, 9096, [BACKEND], protocol=packet.protocol)
        kernel.uplink(packet)
        state = GONE if change == "gone" else 1
        kernel.write_backend(0, Backend(address="10.9.9.9", port=1, state=state))
        kernel.serve(VIP, 9096, [Backend(address=OTHER, port=9093)], protocol=packet.protocol)
        expected = replace(packet, destination=OTHER, dport=9093)
        assert kernel.uplink(packet) == (REDIRECT, expected.frame())

    def test_a_connection_never_follows_a_number_to_another_backend(self, kernel: Kernel) -> None:
        kernel.serve(VIP, 9096, [BACKEND])
        kernel.uplink(HELLO)
        for change in ({"address": OTHER}, {"port": 9093}):
            kernel.write_backend(0, replace(BACKEND, **change))
            assert kernel.uplink(DATA)[0] == DROP

    def test_a_connection_keeps_its_backend_when_the_service_gets_others(
        self, kernel: Kernel
    ) -> None:
        kernel.serve(VIP, 9096, [BACKEND])
        kernel.uplink(HELLO)
        kernel.serve(VIP, 9096, [Backend(address=OTHER, port=9093)])
        expected = replace(DATA, destination=POD, dport=9092)
        assert kernel.uplink(DATA) == (REDIRECT, expected.frame())


@pytest.fixture
def crowded(namespace: None) -> Iterator[Kernel]:
    """A flow table that takes three entries and evicts none."""
    shape = MapInfo(
        type=MapType.HASH, key_size=40, value_size=56, max_entries=3, flags=0, name="flows"
    )
    kernel = Kernel(flows=shape, sizes={})
    yield kernel
    kernel.close()


def test_a_flow_that_the_table_does_not_take_is_dropped(crowded: Kernel) -> None:
    crowded.serve(VIP, 9096, [BACKEND])
    assert crowded.uplink(HELLO)[0] == REDIRECT
    for sport in (40001, 40002):  # room for one half, then for none
        assert crowded.uplink(replace(HELLO, sport=sport))[0] == DROP
    assert crowded.counters() == {"FLOWS_FULL": 2}
    assert crowded.uplink(DATA)[0] == REDIRECT
