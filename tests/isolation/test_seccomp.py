"""The filters do what they say on both architectures: they are run here, word by word, as the kernel runs them."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from groupwise.errors import UserError
from groupwise.isolation import seccomp
from groupwise.isolation.confinement import OWN_PROCESS

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}
ALLOWED, REFUSED, MISSING, KILLED = 0x7FFF0000, 0x00050001, 0x00050026, 0x80000000
OWN = int.from_bytes(OWN_PROCESS, "little")


def answer(program: bytes, architecture: int, number: int, *arguments: int) -> int:
    data = struct.pack("<II Q 6Q", number, architecture, 0, *(*arguments, *[0] * 6)[:6])
    words = list(struct.iter_unpack("<HBBI", program))
    place = value = 0
    while True:
        code, then, otherwise, constant = words[place]
        place += 1
        if code == 0x20:
            (value,) = struct.unpack_from("<I", data, constant)
        elif code == 0x54:
            value &= constant
        elif code == 0x06:
            return constant
        else:
            holds = {0x15: value == constant, 0x35: value >= constant, 0x45: bool(value & constant)}[code]
            place += then if holds else otherwise


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_what_is_denied_and_what_is_not(machine: str) -> None:
    own = ARCHITECTURES[machine]
    judged = seccomp.calls(machine, seccomp.JUDGED)
    first, last = (seccomp.call_filter(last=which, machine=machine) for which in (False, True))
    threads = seccomp.call_filter(last=False, threads=True, machine=machine)
    for number in seccomp.calls(machine, *seccomp.DENIED).values():
        assert answer(first, own, number) == answer(last, own, number) == REFUSED
    for number in seccomp.calls(machine, seccomp.FOREIGN).values():
        assert (answer(first, own, number), answer(last, own, number)) == (ALLOWED, REFUSED)
    assert answer(last, own, 1 if machine == "x86_64" else 64) == ALLOWED  # write
    assert answer(first, own, judged["clone3"]) == answer(threads, own, judged["clone3"]) == MISSING
    thread, fork, namespace = 0x3D0F00, 0x1200011, 0x3D0F00 | 0x10000000
    assert [answer(program, own, judged["clone"], thread) for program in (first, threads)] == [REFUSED, ALLOWED]
    assert [answer(threads, own, judged["clone"], flags) for flags in (fork, namespace)] == [REFUSED] * 2
    for name in ("kill", "tgkill"):
        signals = [answer(last, own, judged[name], process) for process in (OWN, 1, 0, 0xFFFFFFFF)]
        assert signals == [ALLOWED, REFUSED, REFUSED, REFUSED]
    for name in ("prlimit64", "sched_setaffinity"):
        assert [answer(last, own, judged[name], process) for process in (0, OWN, 1)] == [ALLOWED, ALLOWED, REFUSED]
    kinds = [(1, 1), (1, 0x80801), (1, 2), (1, 5), (2, 1), (30, 1)]
    assert [answer(first, own, judged["socketpair"], *kind) for kind in kinds] == [ALLOWED, ALLOWED, *[REFUSED] * 4]
    assert [answer(first, own, judged["fcntl"], 0, what) for what in (3, 1031, 8)] == [ALLOWED, REFUSED, REFUSED]
    assert [answer(first, own, judged["ioctl"], 0, what) for what in (0x5401, 0x5412)] == [ALLOWED, REFUSED]


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_other_architectures_have_no_way_in(machine: str) -> None:
    program = seccomp.call_filter(last=True, machine=machine)
    for foreign in (0x40000003, *(number for name, number in ARCHITECTURES.items() if name != machine)):
        assert answer(program, foreign, 4) == KILLED
    if machine == "x86_64":
        assert answer(program, ARCHITECTURES[machine], 0x40000000 + 1) == REFUSED


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_numbers_are_those_of_the_kernel(machine: str) -> None:
    if not HEADERS[machine].exists():
        pytest.skip("no headers of the kernel here")
    known = {
        name: int(number)
        for name, number in re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", HEADERS[machine].read_text())
    }
    ours = seccomp.calls(machine, *seccomp.DENIED, seccomp.FOREIGN, seccomp.JUDGED)
    assert {name: number for name, number in ours.items() if known.get(name, number) != number} == {}
    assert len(ours.keys() & known.keys()) > 100
    assert len(set(ours.values())) == len(ours)


def test_an_unknown_machine_is_refused() -> None:
    with pytest.raises(UserError, match="no filter on system calls is known for riscv64; expected x86_64 or aarch64"):
        seccomp.call_filter(last=True, machine="riscv64")
