"""Threads that make a step together: what happens where one of them has to leave it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from groupwise.kernels import build

COMPILER = next(filter(None, map(shutil.which, build.COMPILERS)), "")

PROGRAM = """
#include "team.h"
#include <cstdio>
#include <thread>
namespace groupwise { struct ExpertRows { std::atomic<int> reading{0}; }; }
using namespace groupwise;

int main() {
    Meeting meeting;
    std::atomic<bool> reads{false};
    const int count = 3;
    for (int i = 0; i < count; ++i) meeting.expect(true);
    const auto step = [&](bool fails) {
        ExpertRows rows;
        const Seat seat = meeting.join();
        try {
            seat.team->rows()[size_t(seat.place)] = &rows;
            seat.team->meet();
            if (fails) {
                while (!reads) std::this_thread::yield();
                throw 1;
            }
            for (const ExpertRows* each : seat.team->rows()) ++const_cast<ExpertRows*>(each)->reading;
            reads = true;
            std::this_thread::sleep_for(std::chrono::milliseconds(20));
            for (const ExpertRows* each : seat.team->rows()) --const_cast<ExpertRows*>(each)->reading;
            seat.team->meet();
        } catch (...) {
            seat.team->leave(std::current_exception());
            std::printf("%d", rows.reading.load());
        }
    };
    std::thread first(step, true), second(step, false);
    step(false);
    first.join(), second.join();
}
"""


@pytest.mark.skipif(not COMPILER, reason="no C++ compiler")
def test_whoever_fails_in_a_step_waits_until_nobody_reads_its_rows(tmp_path: Path) -> None:
    (tmp_path / "step.cpp").write_text(PROGRAM)
    command = [COMPILER, "-std=c++17", "-O0", "-pthread", "-I", str(build.HERE), str(tmp_path / "step.cpp")]
    subprocess.run([*command, "-o", str(tmp_path / "step")], check=True)
    done = subprocess.run([str(tmp_path / "step")], capture_output=True, text=True, timeout=600)
    assert (done.returncode, done.stdout) == (0, "000")
