"""libbpf: what goes wrong before and at load is an error with libbpf's own words."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from onehop.adapters.bpf import syscall
from onehop.adapters.bpf.errors import DatapathError
from onehop.adapters.bpf.libbpf import Object, _library
from onehop.adapters.bpf.syscall import Map
from onehop.model.reason import Reason
from tests.unit.adapters.bpf.node import compiled

ANSWER = """
const volatile __u32 answer = 0;
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 2);
  __type(key, __u32); __type(value, __u32); } seen SEC(".maps");
SEC("tc") int says(struct __sk_buff *skb) {
  __u32 zero = 0, *count = bpf_map_lookup_elem(&seen, &zero);
  if (count) *count = skb->len;
  return answer;
}
char licence[] SEC("license") = "GPL";
"""
PACKET = bytes(12) + b"\x08\x00" + bytes(50)


def test_a_missing_library_names_the_package() -> None:
    with pytest.raises(DatapathError, match="libbpf1") as caught:
        _library("libbpf-that-nobody-has.so")
    assert caught.value.reason is Reason.KERNEL_LACKS


def test_a_file_that_is_no_object_is_said(tmp_path: Path) -> None:
    (tmp_path / "x.o").write_text("no ELF")
    with pytest.raises(DatapathError, match=r"open .*x\.o"):
        Object(tmp_path / "x.o")


@pytest.mark.root
class TestObject:
    def test_constants_and_capacity_are_set_before_load(self, tmp_path: Path) -> None:
        held = Object(compiled(tmp_path, ANSWER))
        [section] = [name for name in held.maps if name.endswith(".rodata")]
        place = held.btf().variables(".rodata")["answer"]
        held.maps[section].set_bytes(place.offset, struct.pack("=I", 77))
        held.maps["seen"].set_capacity(9)
        held.load()
        verdict, left, _ = syscall.run_program(held.program_fd("says"), PACKET)
        assert (verdict, left) == (77, PACKET)
        seen = Map(held.maps["seen"].fd)
        assert seen.info.max_entries == 9
        assert seen.lookup(bytes(4)) == struct.pack("=I", len(PACKET))
        held.close()

    def test_a_map_is_taken_over(self, tmp_path: Path) -> None:
        path = compiled(tmp_path, ANSWER)
        first = Object(path)
        first.load()
        second = Object(path)
        second.maps["seen"].reuse(first.maps["seen"].fd)
        second.load()
        syscall.run_program(second.program_fd("says"), PACKET)
        assert Map(first.maps["seen"].fd).lookup(bytes(4)) == struct.pack("=I", len(PACKET))
        second.close()
        first.close()

    def test_more_bytes_than_a_section_holds_are_refused(self, tmp_path: Path) -> None:
        held = Object(compiled(tmp_path, ANSWER))
        [section] = [name for name in held.maps if name.endswith(".rodata")]
        with pytest.raises(ValueError, match="holds 4 bytes"):
            held.maps[section].set_bytes(2, bytes(4))
        held.close()

    def test_what_the_verifier_says_is_in_the_error(self, tmp_path: Path) -> None:
        wild = """
        SEC("tc") int wild(struct __sk_buff *skb) { return *(int *)(long)skb->data; }
        char licence[] SEC("license") = "GPL";
        """
        held = Object(compiled(tmp_path, wild))
        with pytest.raises(DatapathError, match=r"load the datapath: .*wild") as caught:
            held.load()
        assert "invalid mem access" in caught.value.why or "invalid access" in caught.value.why
        held.close()

    def test_an_absent_program_is_said(self, tmp_path: Path) -> None:
        held = Object(compiled(tmp_path, ANSWER))
        with pytest.raises(DatapathError, match="does not hold it"):
            held.program_fd("absent")
        held.close()
