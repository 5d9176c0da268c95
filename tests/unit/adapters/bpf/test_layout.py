"""The shared layout: what is packed is unpacked, and the object's own types agree."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onehop.adapters.bpf import layout
from onehop.adapters.bpf.btf import Btf
from onehop.adapters.bpf.errors import DatapathError
from onehop.adapters.bpf.layout import Title, Word
from onehop.adapters.bpf.libbpf import Object
from onehop.adapters.bpf.loader import OBJECT
from onehop.model.service import Frontend, FrontendKind, Protocol, TrafficPolicy
from tests.unit.adapters.bpf.node import compiled

# ::ffff:0:0/96 is the form of IPv4 in the maps, so no IPv6 address of that form can be told apart
v6 = st.ip_addresses(v=6).filter(lambda address: address.ipv4_mapped is None)  # type: ignore[union-attr]
addresses = st.one_of(st.ip_addresses(v=4), v6)
ports = st.integers(0, 65535)


def test_an_ipv4_address_is_mapped() -> None:
    assert layout.pack_address(ip_address("192.0.2.1")).hex() == "0" * 20 + "ffffc0000201"


def test_a_key_is_in_network_order() -> None:
    frontend = Frontend(address=IPv4Address("10.0.0.1"), port=0x2388, protocol=Protocol.UDP)
    assert layout.pack_frontend(frontend).hex() == "0" * 20 + "ffff0a000001" + "2388" + "1100"


def test_a_word_has_its_parts_where_the_datapath_reads_them() -> None:
    word = Word(slot=0x11223344, backends=0x5566, table=2, flags=1).pack()
    assert struct.pack("=Q", word) == struct.pack("=IHBB", 0x11223344, 0x5566, 2, 1)


@given(address=addresses)
def test_addresses_come_back(address: IPv4Address | IPv6Address) -> None:
    assert layout.unpack_address(layout.pack_address(address)) == address


@given(address=addresses, port=ports, protocol=st.sampled_from([Protocol.TCP, Protocol.UDP]))
def test_frontends_come_back(
    address: IPv4Address | IPv6Address, port: int, protocol: Protocol
) -> None:
    kind = FrontendKind.NODE_PORT if address.is_unspecified else FrontendKind.LOAD_BALANCER
    frontend = Frontend(address=address, port=port, protocol=protocol, kind=kind)
    assert layout.unpack_frontend(layout.pack_frontend(frontend)) == frontend


@given(
    st.integers(0, 2**32 - 1), st.integers(0, 2**16 - 1), st.integers(0, 2), st.integers(0, 255)
)
def test_words_come_back(slot: int, backends: int, table: int, flags: int) -> None:
    word = Word(slot, backends, table, flags)
    assert Word.unpack(word.pack()) == word


names = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=63)


@given(
    namespace=names, name=names, policy=st.sampled_from(TrafficPolicy), total=st.integers(0, 10**6)
)
def test_titles_come_back(namespace: str, name: str, policy: TrafficPolicy, total: int) -> None:
    title = Title(namespace=namespace, name=name, policy=policy, total=total)
    assert Title.unpack(title.pack()) == title


def test_a_name_that_is_too_long_is_cut() -> None:
    title = Title(namespace="n" * 70, name="é" * 40, policy=TrafficPolicy.LOCAL, total=1)
    assert Title.unpack(title.pack()).namespace == "n" * 63
    assert Title.unpack(title.pack()).policy is TrafficPolicy.LOCAL


def test_the_configuration_holds_one_source_of_each_family() -> None:
    sources = tuple(map(ip_address, ("fd00::1", "192.0.2.1", "192.0.2.2")))
    packed = layout.pack_config(sources, (1024, 2048), stack=True, many_uplinks=True)
    assert packed[:32] == layout.pack_address(sources[1]) + layout.pack_address(sources[0])
    assert struct.unpack("=HHBBH", packed[32:]) == (1024, 2048, 1, 1, layout.VERSION)
    nothing = layout.pack_config((), (1, 2), stack=False, many_uplinks=False)
    assert nothing[:32] == bytes(32)


class TestObject:
    """The object that is shipped, and some that are not."""

    def test_the_shipped_object_agrees(self) -> None:
        held = Object(OBJECT)
        layout.compare(held.btf(), {n: each.shape[1:3] for n, each in held.maps.items()})
        held.close()

    @pytest.mark.parametrize("name", sorted(layout.SIZES))
    def test_a_map_of_another_size_is_refused(self, name: str) -> None:
        held = Object(OBJECT)
        sizes = {**layout.SIZES, name: (4, 5)}
        with pytest.raises(DatapathError, match=f"map {name} is sizes"):
            layout.compare(held.btf(), sizes)
        held.close()

    def test_a_member_that_moved_is_refused(self, tmp_path: Path) -> None:
        moved = """
        struct frontend { __u16 port; char address[16]; __u8 protocol; __u8 pad; };
        struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 4);
          __type(key, struct frontend); __type(value, __u32); } frontends SEC(".maps");
        """
        held = Object(compiled(tmp_path, moved))
        with pytest.raises(DatapathError, match=r"struct frontend\.address is Place"):
            layout.compare(held.btf(), layout.SIZES)
        held.close()

    def test_types_give_sections_and_sizes(self, tmp_path: Path) -> None:
        source = """
        struct inner { __u64 *pointer; __u32 numbers[3]; };
        const volatile struct inner settings = {};
        const volatile __u16 port = 5;
        SEC("tc") int reads(struct __sk_buff *skb) { return settings.numbers[1] + port; }
        char licence[] SEC("license") = "GPL";
        """
        held = Object(compiled(tmp_path, source))
        types = held.btf()
        assert types.struct_size("inner") == 24
        assert {n: (p.offset, p.size) for n, p in types.members("inner").items()} == {
            "pointer": (0, 8),
            "numbers": (8, 12),
        }
        sizes = {name: place.size for name, place in types.variables(".rodata").items()}
        assert sizes == {"settings": 24, "port": 2}
        assert types.struct_size("absent") is None
        assert types.members("absent") == types.variables(".absent") == {}
        held.close()


def test_other_bytes_are_no_types() -> None:
    with pytest.raises(ValueError, match="no BPF type information"):
        Btf(bytes(64))
