"""Real kernels learn, keep and move neighbours by what the announcers say."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from onehop.model.address import Mac
from onehop.model.desired import Announcement
from onehop.model.reason import Reason
from onehop.proto.arp import packet as arp
from onehop.proto.arp.announcer import REPEATS
from onehop.proto.ndp import message as ndp
from onehop.proto.wire import BROADCAST
from tests.lab.wire import CLIENT_MAC, NODE_MAC, Wire, eventually, received, wire

pytestmark = pytest.mark.root

VIP, VIP6 = "192.0.2.100", "fd00::100"
CLIENT, OURS = Mac.parse(CLIENT_MAC), Mac.parse(NODE_MAC)
STRANGER = Mac.parse("02:00:00:00:00:66")
ARP, IPV6 = 0x0806, 0x86DD

REQUEST = arp.ArpPacket(
    destination=BROADCAST,
    source=CLIENT,
    operation=arp.Operation.REQUEST,
    sender=CLIENT,
    sender_address=IPv4Address("192.0.2.9"),
    target=Mac(bytes(6)),
    target_address=IPv4Address(VIP),
)
CLAIM = arp.announcement(STRANGER, IPv4Address(VIP), arp.Operation.REPLY)


@pytest.fixture
def lan(tmp_path: Path) -> Iterator[Wire]:
    with wire(tmp_path) as both:
        yield both


def usable(lan: Wire) -> None:
    """Wait until the node's link-local address is there: before that NDP is not spoken."""
    show = ("ip", "-6", "address", "show", "dev", "net0", "scope", "link", "-tentative")
    eventually(lambda: lan.run("node", *show).stdout)


def gratuitous(frames: list[bytes]) -> list[bytes]:
    return [frame for frame in frames if frame[:6] == BROADCAST.octets and frame[28:32] == vip()]


def vip() -> bytes:
    return IPv4Address(VIP).packed


def test_the_kernel_resolves_an_address_that_no_host_has(lan: Wire) -> None:
    lan.speaker().announce(VIP)
    assert lan.neighbour(VIP) == "", "an announcement creates no entry"
    lan.run("client", "ping", "-c1", "-W1", VIP)
    assert f"lladdr {NODE_MAC}" in eventually(lambda: lan.neighbour(VIP))


def test_a_client_that_knows_another_owner_moves_with_the_first_frame(lan: Wire) -> None:
    """The frame has left, and the kernel has taken it, when `sync` returns."""
    speaker = lan.speaker()
    lan.ip("client", f"neigh add {VIP} lladdr {STRANGER} dev net0 nud reachable")
    speaker.announce(VIP)
    assert f"lladdr {NODE_MAC}" in lan.neighbour(VIP)


def test_the_first_frame_leaves_before_the_loop_turns(lan: Wire) -> None:
    speaker, sniffer = lan.speaker(), lan.capture(ARP)
    frames: list[bytes] = []

    def announce_and_look() -> None:
        announcements = (Announcement(address=IPv4Address(VIP)),)
        speaker.announcers.sync(announcements, speaker.links.links())
        frames.extend(gratuitous(received(sniffer)))

    eventually(lambda: speaker.links.links() and speaker.links.links()[0].up)
    speaker.call(announce_and_look)
    assert frames == [
        arp.announcement(OURS, IPv4Address(VIP), operation) for operation in arp.Operation
    ]


def test_announcements_are_repeated(lan: Wire) -> None:
    speaker = lan.speaker()
    speaker.announce(VIP)
    expected = 2 * (1 + len(REPEATS))
    eventually(lambda: speaker.counters(VIP)["gratuitous_sent"], lambda sent: sent == expected)


def test_a_kernel_that_checks_whether_the_neighbour_lives_hears_so(lan: Wire) -> None:
    """Unicast probes: ARP of RFC 1122 2.3.2.1, neighbour unreachability detection of NDP."""
    speaker = lan.speaker()
    usable(lan)
    speaker.announce(VIP, VIP6)
    for address in (VIP, VIP6):
        lan.ip("client", f"neigh replace {address} lladdr {NODE_MAC} dev net0 nud probe")
        eventually(lambda at=address: lan.neighbour(at), lambda entry: "REACHABLE" in entry)
        eventually(
            lambda at=address: speaker.counters(at)["requests_received"], lambda count: count >= 1
        )


def test_a_solicitation_without_the_link_layer_option_is_answered(lan: Wire) -> None:
    speaker, sniffer = lan.speaker(), lan.capture(IPV6)
    usable(lan)
    speaker.announce(VIP6)
    target, client = IPv6Address(VIP6), IPv6Address("fd00::9")
    sniffer.send(
        ndp.encode(
            ndp.NeighbourSolicitation(
                destination=OURS,
                source=CLIENT,
                source_address=client,
                destination_address=target,
                target=target,
            )
        )
    )
    answer = ndp.encode(
        ndp.NeighbourAdvertisement(
            destination=CLIENT,
            source=OURS,
            source_address=target,
            destination_address=client,
            target=target,
            solicited=True,
            override=True,
            link_layer=OURS,
        )
    )
    eventually(lambda: answer in received(sniffer))


def test_the_kernel_resolves_an_ipv6_address_that_no_host_has(lan: Wire) -> None:
    speaker = lan.speaker()
    usable(lan)
    speaker.announce(VIP6)
    lan.run("client", "ping", "-c1", "-W1", VIP6)
    assert f"lladdr {NODE_MAC}" in eventually(lambda: lan.neighbour(VIP6))


def test_an_unsolicited_advertisement_moves_a_client(lan: Wire) -> None:
    speaker = lan.speaker()
    usable(lan)
    lan.ip("client", f"neigh add {VIP6} lladdr {STRANGER} dev net0 nud reachable")
    speaker.announce(VIP6)
    assert f"lladdr {NODE_MAC}" in lan.neighbour(VIP6)


def test_duplicate_address_detection_finds_us(lan: Wire) -> None:
    """The kernel that wants our address gives it up, and we report the claim."""
    speaker = lan.speaker()
    usable(lan)
    speaker.announce(VIP6)
    lan.ip("client", f"address add {VIP6}/64 dev net0")
    show = ("ip", "-6", "address", "show", "dev", "net0", "to", VIP6)
    eventually(lambda: lan.run("client", *show).stdout, lambda text: "dadfailed" in text)
    facts = eventually(lambda: speaker.facts)
    assert [(str(fact.address), str(fact.claimant)) for fact in facts] == [(VIP6, CLIENT_MAC)]


def test_the_solicited_node_group_is_joined_and_left(lan: Wire) -> None:
    speaker = lan.speaker()
    usable(lan)
    speaker.announce(VIP6)
    show = ("ip", "-6", "maddress", "show", "dev", "net0")
    assert "ff02::1:ff00:100" in lan.run("node", *show).stdout
    speaker.announce()
    eventually(lambda: lan.run("node", *show).stdout, lambda text: "ff02::1:ff00:100" not in text)


def test_another_host_that_claims_an_address_is_reported_not_fought(lan: Wire) -> None:
    speaker, client = lan.speaker(), lan.capture(ARP)
    speaker.announce(VIP)
    repeated = 2 * (1 + len(REPEATS))
    eventually(lambda: speaker.counters(VIP)["gratuitous_sent"], lambda sent: sent == repeated)
    for _ in range(50):
        client.send(CLAIM)
    facts = eventually(lambda: speaker.facts)
    assert [(str(fact.address), fact.claimant) for fact in facts] == [(VIP, STRANGER)]
    counters = speaker.counters(VIP)
    assert counters["conflicts"] == 50
    assert counters["gratuitous_sent"] == repeated + 2, "one defence"
    client.send(arp.encode(REQUEST))
    eventually(lambda: speaker.counters(VIP)["replies_sent"], lambda sent: sent == 1)


def test_a_link_that_comes_back_hears_the_announcements_again(lan: Wire) -> None:
    speaker, sniffer = lan.speaker(), lan.capture(ARP)
    speaker.announce(VIP)
    eventually(lambda: gratuitous(received(sniffer)))
    lan.ip("node", "link set net0 down")
    eventually(lambda: speaker.counters(VIP), lambda counters: counters == {})
    received(sniffer)
    lan.ip("node", "link set net0 up")
    eventually(lambda: gratuitous(received(sniffer)))
    sniffer.send(arp.encode(REQUEST))
    eventually(lambda: speaker.counters(VIP)["replies_sent"], lambda sent: sent == 1)


def test_a_loss_of_carrier_between_two_looks_is_noticed(lan: Wire) -> None:
    speaker, sniffer = lan.speaker(), lan.capture(ARP)
    speaker.announce(VIP)
    eventually(lambda: gratuitous(received(sniffer)))

    def flap() -> None:
        lan.ip("client", "link set net0 down", "link set net0 up")

    speaker.call(flap)  # the loop cannot look meanwhile
    eventually(lambda: len(speaker.reports), lambda count: count >= 2)
    assert eventually(lambda: speaker.counters(VIP)["gratuitous_sent"]) < 2 * (1 + len(REPEATS))
    eventually(lambda: gratuitous(received(sniffer)))


def test_a_link_that_is_plugged_in_later_is_served(lan: Wire) -> None:
    speaker = lan.speaker()
    speaker.announce(VIP)
    lan.ip("client", "link add net1 type veth peer name net1 netns @node", "link set net1 up")
    sniffer = lan.capture(ARP, "net1")
    lan.ip("node", "link set net1 up")
    eventually(lambda: gratuitous(received(sniffer)))
    lan.ip("node", "link delete net1")
    eventually(lambda: [link.name for link in speaker.links.links()], lambda n: n == ["net0"])
    assert not speaker.reports[-1].failures


def test_only_the_links_of_the_announcement_speak(lan: Wire) -> None:
    lan.ip("client", "link add net1 type veth peer name net1 netns @node", "link set net1 up")
    lan.ip("node", "link set net1 up")
    quiet, loud = lan.capture(ARP, "net0"), lan.capture(ARP, "net1")
    speaker = lan.speaker()
    eventually(
        lambda: speaker.call(lambda: (speaker.links.refresh(), speaker.links.links())[1]),
        lambda links: [link.up for link in links] == [True, True],
    )
    speaker.announce(VIP, links=frozenset({"net1"}))
    assert gratuitous(received(loud))
    assert not gratuitous(received(quiet))


def test_two_links_of_the_node_on_one_wire_do_not_quarrel(lan: Wire) -> None:
    lan.ip(
        "client",
        "link add net1 type veth peer name net1 netns @node",
        "link add br0 type bridge",
        "link set net0 master br0",
        "link set net1 master br0 up",
        "link set br0 up",
    )
    lan.ip("node", "link set net1 up")
    speaker = lan.speaker()
    eventually(
        lambda: speaker.call(lambda: (speaker.links.refresh(), speaker.links.links())[1]),
        lambda links: [link.up for link in links] == [True, True],
    )
    speaker.announce(VIP)
    eventually(lambda: speaker.counters(VIP)["gratuitous_sent"], lambda sent: sent >= 8)
    assert speaker.counters(VIP)["conflicts"] == 0
    assert speaker.facts == []


def test_a_frame_of_a_vlan_that_the_node_is_not_in_is_not_answered(lan: Wire) -> None:
    speaker, plain = lan.speaker(), lan.capture(ARP)
    speaker.announce(VIP)
    frame = arp.encode(REQUEST)
    tagged = frame[:12] + b"\x81\x00\x00\x05" + frame[12:]
    plain.send(tagged)
    plain.send(frame)
    eventually(lambda: speaker.counters(VIP)["replies_sent"])
    assert speaker.counters(VIP)["requests_received"] == 1


def test_a_port_of_a_bridge_is_left_to_the_bridge(lan: Wire) -> None:
    speaker = lan.speaker()
    lan.ip("node", "link add br0 type bridge", "link set net0 master br0", "link set br0 up")
    eventually(
        lambda: speaker.call(lambda: (speaker.links.refresh(), speaker.links.links())[1]),
        lambda links: [link.up for link in links if link.name == "br0"] == [True],
    )
    speaker.announce(VIP)
    bridge = next(link for link in speaker.links.links() if link.name == "br0")
    lan.run("client", "ping", "-c1", "-W1", VIP)
    assert f"lladdr {bridge.mac}" in eventually(lambda: lan.neighbour(VIP))


def test_a_withdrawn_address_is_silent(lan: Wire) -> None:
    speaker, client = lan.speaker(), lan.capture(ARP)
    speaker.announce(VIP, "192.0.2.101")
    speaker.announce("192.0.2.101")
    client.send(arp.encode(REQUEST))
    received(client)
    lan.run("client", "ping", "-c1", "-W1", "192.0.2.101")
    assert f"lladdr {NODE_MAC}" in eventually(lambda: lan.neighbour("192.0.2.101"))
    assert not [frame for frame in received(client) if frame[28:32] == vip()]
    assert speaker.counters(VIP) == {}


def test_an_unchanged_want_changes_nothing(lan: Wire) -> None:
    speaker = lan.speaker()
    assert speaker.announce(VIP).changed == 1
    sent = speaker.counters(VIP)["gratuitous_sent"]
    report = speaker.announce(VIP)
    assert (report.changed, report.failures) == (0, ())
    assert speaker.counters(VIP)["gratuitous_sent"] == sent


WITHOUT_CAPABILITY = """
import asyncio
from ipaddress import ip_address
from onehop.adapters.linux.link import Links
from onehop.app.announcers import Announcers
from onehop.model.desired import Announcement
async def main():
    links, announcers = Links(), Announcers(on_fact=print)
    announcement = Announcement(address=ip_address("192.0.2.100"))
    (failure,) = announcers.sync((announcement,), links.links()).failures
    print(failure.refusal.reason.code, failure.subject, failure.refusal.detail, sep="|")
    links.close()
asyncio.run(main())
"""


def test_without_cap_net_raw_one_sentence_says_so(lan: Wire) -> None:
    eventually(lambda: "LOWER_UP" in lan.run("node", "ip", "link", "show", "net0").stdout)
    done = lan.run(
        "node",
        "setpriv", "--bounding-set", "-net_raw",
        sys.executable, "-W", "error", "-c", WITHOUT_CAPABILITY,
    )  # fmt: skip
    assert done.stderr == ""
    code, subject, detail = done.stdout.strip().split("|")
    assert code == Reason.CAPABILITY_MISSING.code
    assert subject == "link net0"
    assert detail == "CAP_NET_RAW, needed for ARP on link net0"
