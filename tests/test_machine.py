"""What a container may use, from control groups as Linux writes them."""

import os

import pytest

from mammofast import machine

GIB = 2**30


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Write control groups: what /proc/self/cgroup says, and files under /sys/fs/cgroup."""

    def write(own, files):
        (tmp_path / "own").write_text(own)
        for name, content in files.items():
            path = tmp_path / "fs" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        monkeypatch.setattr(machine, "_OWN_GROUPS", tmp_path / "own")
        monkeypatch.setattr(machine, "_GROUPS", tmp_path / "fs")

    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))
    monkeypatch.setattr(machine, "memory_bytes", lambda: 64 * GIB)
    return write


@pytest.mark.parametrize(
    ("own", "files", "quota", "cores", "memory"),
    [
        ("0::/\n", {"cpu.max": "max 100000\n", "memory.max": "max\n"}, None, 8, None),
        # A container of version 2 sees its own group as the top.
        ("0::/\n", {"cpu.max": "250000 100000\n", "memory.max": f"{4 * GIB}\n"}, 2.5, 2, 4 * GIB),
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 0.5, 1, None),
        # systemd: the slice above is the tighter one.
        (
            "0::/night.slice/screen.service\n",
            {
                "night.slice/cpu.max": "300000 100000",
                "night.slice/screen.service/cpu.max": "max 100000",
                "night.slice/memory.max": "max",
                "night.slice/screen.service/memory.max": str(GIB),
            },
            3.0,
            3,
            GIB,
        ),
        # Version 1: controllers apart, -1 and a huge number for no limit; the path is the host's.
        (
            "4:memory:/docker/1\n1:cpu,cpuacct:/docker/1\n",
            {
                "cpu,cpuacct/cpu.cfs_quota_us": "400000",
                "cpu,cpuacct/cpu.cfs_period_us": "100000",
                "memory/memory.limit_in_bytes": str(8 * GIB),
            },
            4.0,
            4,
            8 * GIB,
        ),
        (
            "4:memory:/\n1:cpu:/\n",
            {
                "cpu/cpu.cfs_quota_us": "-1",
                "cpu/cpu.cfs_period_us": "100000",
                "memory/memory.limit_in_bytes": "9223372036854771712",
            },
            None,
            8,
            None,
        ),
    ],
)
def test_limits_of_control_groups(groups, own, files, quota, cores, memory):
    groups(own, files)
    assert (machine.core_quota(), machine.cores(), machine.memory_limit()) == (quota, cores, memory)


def test_a_system_without_control_groups_has_no_limits(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "_OWN_GROUPS", tmp_path / "nothing")
    assert (machine.core_quota(), machine.memory_limit()) == (None, None)


def test_memory_that_is_free_is_part_of_all():
    assert 0 < machine.available_memory() <= machine.memory_bytes()
