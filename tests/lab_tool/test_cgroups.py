"""Both kinds of control group hierarchy are understood, from what the kernel says about them."""

from pathlib import Path

from lab.cgroups import parse_membership, parse_mounted

V1 = """\
24 18 0:22 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
25 24 0:23 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:3 - cgroup cgroup rw,cpu,cpuacct
26 24 0:24 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
27 24 0:25 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""
V2 = "24 18 0:22 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"


def test_where_v1_hierarchies_are() -> None:
    found = parse_mounted(V1)
    assert found["cpuacct"] == Path("/sys/fs/cgroup/cpu,cpuacct")
    assert found["name=systemd"] == Path("/sys/fs/cgroup/systemd")
    assert found[""] == Path("/sys/fs/cgroup/unified")


def test_where_the_unified_hierarchy_is() -> None:
    assert parse_mounted(V2) == {"": Path("/sys/fs/cgroup")}


def test_membership() -> None:
    text = "4:cpu,cpuacct:/a\n1:name=systemd:/b:c\n0::/d\n"
    assert parse_membership(text) == {"cpu": "/a", "name=systemd": "/b:c", "": "/d"}
