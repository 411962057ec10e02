"""What a hostile gear tries: root inside, with a Python of the host's (read only) to try it with.

Networks, ports and the agent's doors are in test_apart.py, test_loopback_door.py and test_doors.py; a kill for
memory is in test_troubles.py. Where it says `outside`, the worst has happened: a process with the gear's ids is on
the host itself, out of every namespace.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from dataclasses import replace
from typing import Any

import pytest
from tests.lab.conftest import APP, BOTH, Shell, eventually

pytestmark = pytest.mark.lab

TOOLS = "geard/test-tools"
# The host's files have nobody's owners here; they may be read and run by all.
PYTHON = ("-v", "/usr:/usr:ro", "-v", "/usr/lib:/lib:ro", "-v", "/usr/lib64:/lib64:ro")
SECRET = "plum-4711"
A_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f\n"


class Thief:
    def __init__(self, host: Shell, name: str = "thief") -> None:
        self.host, self.name = host, name

    def tries(self, *words: str) -> str:
        """What a command in the gear says, however it ends."""
        done = self.host.inside(self.name, *words, check=False)
        return done.stdout + done.stderr

    def sh(self, script: str) -> str:
        return self.tries("sh", "-c", script)

    def python(self, script: str) -> Any:
        """What a program in the gear prints, as JSON."""
        engine = [self.host.engine, "exec", "-i", f"ctr-{self.name}", "/usr/bin/python3", "-IS", "-"]
        return json.loads(self.host.run(engine, stdin=script).stdout)

    def outside(self, *words: str) -> str:
        """What a command says that has got out, and has but its ids."""
        unit = f"/var/lib/containers/units/{self.name[:2]}/ctr-{self.name}.service"
        uid = self.host.sh(f"sed -n 's/^X-ContainerUserId=//p' {unit}").stdout.strip()
        user = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
        done = self.host.run([*user, *words], check=False)
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def thief(h1: Shell, engine: str) -> Generator[Thief]:
    """It, and a gear whose things it is after: for all tests here, since each leaves both as they were."""
    host = replace(h1, engine=engine)
    here = ("--engine", engine, "--start", "-v", "/data")
    host.gear("delete", "--purge", "victim", "thief")
    host.gear("install", APP, "victim", *here, "-p", "none", f"PASSWORD={SECRET}")
    host.gear("install", TOOLS, "thief", *here, "--pids", "100", *PYTHON)
    host.inside("victim", "sh", "-c", f"echo {SECRET} > /data/file; chmod 644 /data/file")
    yield Thief(host)
    host.gear("delete", "--purge", "victim", "thief")


def pid_of(host: Shell, name: str) -> str:
    return host.run(["cat", f"/run/geard/gears/ctr-{name}/pid"]).stdout.strip()


@BOTH
def test_status_names_what_is_in_force(thief: Thief) -> None:
    """As the kernel has it of the program that runs."""
    said = {fact["Label"]: fact["Text"] for fact in thief.host.status("thief")["Facts"]}["Protections"]
    status = dict(line.split(":\t", 1) for line in thief.sh("cat /proc/1/status").splitlines())
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert "; no new privileges; seccomp filter; " in f"; {said}"
    assert f"; {int(status['CapBnd'], 16).bit_count()} of " in said
    assert "network, processes, IPC, files, host name of its own" in said
    user = "no users of its own" if thief.host.engine == "docker" else "user namespace (its 0 is uid "
    assert said.startswith(user)


@BOTH
def test_other_programs_and_their_environments_are_not_seen(thief: Thief) -> None:
    seen = thief.sh("cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ | tr '\\0' '\\n'")
    assert "do-nothing" in seen, "its own are"
    for other in ("serve-http", "systemd", "conmon", "dockerd", SECRET):
        assert other not in seen
    number = pid_of(thief.host, "victim")
    assert SECRET in thief.host.sh(f"tr '\\0' '\\n' </proc/{number}/environ").stdout, "that is where it is"
    assert "No such process" in thief.sh(f"kill -0 {number}")


@pytest.mark.parametrize("engine", ["podman"], indirect=True)  # Docker has no ids of a gear's own
def test_outside_it_reads_no_other_gears_memory_environment_or_files(thief: Thief) -> None:
    host, number = thief.host, pid_of(thief.host, "victim")
    assert int(thief.outside("id", "-u")) >= 2_000_000
    for path in (f"/proc/{number}/environ", f"/proc/{number}/mem", f"/proc/{number}/root/data/file"):
        assert "Permission denied" in thief.outside("head", "-c1", path)
    host.run(["gear", "keys", "victim"], stdin=A_KEY)
    places = " ".join(f"/var/lib/containers/{name}" for name in ("data", "env", "keys", "access"))
    files = host.sh(f"find -L {places} -type f").stdout.split()
    assert all(any(place in path for path in files) for place in ("victim", *places.split()))
    for path in files:
        assert "Permission denied" in thief.outside("head", "-c1", path)
    assert "Operation not permitted" in thief.outside("kill", "-TERM", number)
    attach = f"ctypes.CDLL(None, use_errno=True).ptrace(16, {number}, 0, 0), ctypes.get_errno()"
    assert thief.outside("python3", "-IS", "-c", f"import ctypes; print({attach})") == "-1 1\n", "EPERM"
    door = thief.outside("curl", "-sS", "--unix-socket", "/run/geard/geard.sock", "http://x/healthz")
    assert door.startswith("curl: (7)"), "nor does it connect"


@BOTH
def test_ptrace_ends_at_its_own_programs(thief: Thief) -> None:
    outcome = thief.python(f"""
import ctypes, json
libc = ctypes.CDLL(None, use_errno=True)
def attach(pid):
    return ctypes.get_errno() if libc.ptrace(16, pid, 0, 0) else 0
print(json.dumps([attach({pid_of(thief.host, "victim")}), attach(999999)]))
""")
    assert outcome in ([3, 3], [1, 1]), "ESRCH: there is no such process; or no ptrace at all"


@BOTH
def test_abstract_sockets_are_its_own(thief: Thief) -> None:
    listen = "import socket, time; s = socket.socket(socket.AF_UNIX); s.bind(chr(0) + 'geard-proof'); s.listen()"
    program = ["/usr/bin/python3", "-IS", "-c", f"{listen}; time.sleep(60)"]
    thief.host.run(["systemd-run", "-q", "--unit=geard-proof", *program])
    try:
        eventually(lambda: "@geard-proof" in thief.host.run(["cat", "/proc/net/unix"]).stdout)
        found = thief.python("""
import json, socket
try:
    socket.socket(socket.AF_UNIX).connect(chr(0) + "geard-proof")
    print(json.dumps("in"))
except OSError as error:
    print(json.dumps(error.strerror))
""")
        assert found == "Connection refused"
        assert "@" not in thief.sh("cat /proc/net/unix"), "it sees none at all"
    finally:
        thief.host.run(["systemctl", "stop", "geard-proof"])


RAW_SOCKET = """
import json, socket
try:
    socket.socket({}, socket.SOCK_RAW, {})
    print("0")
except OSError as error:
    print(json.dumps(error.errno))
"""


@BOTH
def test_another_gears_loopback_and_address(thief: Thief) -> None:
    host = thief.host
    host.inside("victim", "httpd", "-p", "127.0.0.1:9999", "-h", "/data")
    address = {f["Label"]: f["Text"] for f in host.status("victim")["Facts"]}["Address"].split()[0]
    for where in ("127.0.0.1", address.rstrip(",")):
        assert SECRET not in thief.tries("wget", "-T2", "-qO-", f"http://{where}:9999/file")
    there = host.inside("victim", "wget", "-T2", "-qO-", "http://127.0.0.1:9999/file")
    assert SECRET in there.stdout, "it was there to be had"
    assert "not permitted" in thief.sh(f"ip addr add {address.rstrip(',')}/16 dev eth0")
    assert thief.python(RAW_SOCKET.format("socket.AF_PACKET", 3)) == 1, "no frames with another's address"


@BOTH
def test_the_host_is_not_written_to(thief: Thief) -> None:
    for script, reasons in (
        ("mount -t tmpfs none /tmp", "denied|not permitted"),
        ("mount -o remount,rw,bind /usr", "denied|not permitted"),
        ("touch /usr/geard-proof", "Read-only"),
        ("echo x > /proc/sys/kernel/core_pattern", "Read-only|denied"),
        ("echo b > /proc/sysrq-trigger", "Read-only|denied|nonexistent"),
        ("echo x > /sys/kernel/uevent_helper", "Read-only|denied|nonexistent"),
        ("mknod /tmp/disk b 254 0 && head -c1 /tmp/disk", "not permitted|denied"),
        ("chroot /proc/1/root/../../.. ls /var/lib/containers", "No such file"),
    ):
        said = thief.sh(script)
        assert any(reason in said for reason in reasons.split("|")), f"{script}: {said!r}"
    assert thief.host.run(["ls", "/usr/geard-proof"], check=False).returncode != 0


NULL = ["stat", "-c", "%u:%g %a", "/dev/null"]
SHUT = "chmod 600 /dev/null /proc/{}/fd/0; chmod 666 /dev/null; true"


@BOTH
def test_the_hosts_null_device_stays_the_hosts(thief: Thief) -> None:
    """crun gives a container's user what it has for input, and a container's /dev/null is the host's own."""
    host = thief.host
    for again in ("first", "second"):
        thief.sh(SHUT.format(1))
        assert host.run(NULL).stdout == "0:0 666\n", again
        host.gear("restart", "thief")


@BOTH
def test_set_uid_programs_gain_nothing(thief: Thief) -> None:
    host = thief.host
    thief.sh("mkdir -p /data/up; cd /data/up; cp /usr/bin/id .; chown 0:0 id; chmod 6755 id")
    assert "-rwsr-sr-x" in thief.sh("ls -l /data/up/id")
    user = [host.engine, "exec", "-u", "1000:1000", "ctr-thief"]
    assert host.run([*user, "/data/up/id", "-u"]).stdout == "1000\n", "no new privileges"
    (path,) = host.sh("find /var/lib/containers/data/th/thief -name id").stdout.split()
    folder = path.removesuffix("/id")
    assert host.sh(f"stat -c '%u %a' {path}").stdout == "0 6755\n", "on the host's disk it is root's"
    for name in ("nobody", "daemon"):
        tried = host.run(["runuser", "-u", name, "--", path, "-u"], check=False)
        assert tried.returncode != 0 and tried.stdout == "", "no user of the host reaches it"
    # and if one did, by a folder that was opened to him
    drop = "setpriv --reuid=1 --regid=1 --clear-groups"
    assert host.sh(f"cd {folder} && {drop} ./id -u && {drop} ./id -g").stdout == "1\n1\n"
    assert host.sh(f"cp -p {path} /root/id && cd /root && {drop} ./id -u; rm /root/id").stdout == "0\n", (
        "as elsewhere"
    )
    options = host.run(["findmnt", "-no", "OPTIONS", "-T", folder]).stdout.strip().split(",")
    assert {"nosuid", "nodev"} <= set(options)


@BOTH
def test_its_limits_are_not_its_own_to_raise(thief: Thief) -> None:
    files = "$(find /sys/fs/cgroup -name pids.max -o -name 'memory*max' -o -name memory.limit_in_bytes)"
    said = thief.sh(f"for file in {files}; do echo max > $file && echo RAISED $file; done")
    assert "RAISED" not in said
    assert "not permitted" in thief.sh("unshare -m mount -t tmpfs none /tmp")
    assert top(thief.host, "thief")["PidsLimit"] == 100


@BOTH
def test_a_fork_bomb_stays_inside(thief: Thief) -> None:
    host = thief.host
    bomb = "while :; do sleep 60 & done"
    host.run([host.engine, "exec", "-d", "ctr-thief", "sh", "-c", bomb])
    eventually(lambda: top(host, "thief")["Pids"] > 90, 30)
    assert top(host, "thief")["Pids"] <= 100
    assert SECRET in host.inside("victim", "cat", "/data/file").stdout, "others go on"
    host.gear("restart", "thief")
    assert top(host, "thief")["Pids"] < 10


def top(host: Shell, name: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = json.loads(host.gear("top", "-d", "0.1", "-o", "json", name).stdout)
    return found[0]


# Those with a host of their own go last: none of the gears above is left to them.


def test_the_hosts_null_device_is_no_jobs(host: Shell) -> None:
    host.gear("run", TOOLS, "--", "sh", "-c", f"{SHUT.format('self')}; [ -z $(cat) ]")
    assert host.run(NULL).stdout == "0:0 666\n"


def test_a_granted_folder_is_what_is_granted(host: Shell) -> None:
    host.sh(
        "rm -rf /srv/proof; mkdir -p /srv/proof; ln -s /etc/shadow /srv/proof/link; echo kept >/srv/proof/file"
    )
    try:
        host.gear("install", TOOLS, "granted", "--start", "-v", "/srv/proof:/proof")
        granted = Thief(host, "granted")
        assert granted.sh("cat /proof/file") == "kept\n"
        assert "root:" not in granted.sh("cat /proof/link /proof/../../etc/shadow")
        assert "denied" in granted.sh("echo gone > /proof/file"), "root inside is nobody to the host's files"
        assert "not permitted" in granted.sh("ln /proof/file /proof/second"), "nor may it give them names"
        assert host.run(["ls", "/srv/proof"]).stdout == "file\nlink\n"
    finally:
        host.run(["rm", "-rf", "/srv/proof"])


@BOTH
def test_links_in_volumes_lead_nowhere(host: Shell) -> None:
    """Neither the engine, which mounts one volume in another, nor a purge follows a link that a gear has made."""
    host.sh("rm -rf /srv/proof; mkdir /srv/proof; echo kept >/srv/proof/file")
    before = host.sh("ls -A /tmp").stdout
    host.gear("install", TOOLS, "linker", "--start", "-p", "none", "-v", "/data")
    host.inside("linker", "sh", "-c", "cd /data; ln -s /tmp sub; ln -s /../../etc etc; ln -s /srv/proof proof")
    host.gear("update", "linker", "-v", "/data,/data/sub,/data/etc/geard-proof")
    host.inside("linker", "sh", "-c", "echo mine >/data/sub/mine; echo mine >/data/etc/geard-proof/mine")
    assert host.sh("ls -A /tmp").stdout == before
    assert host.run(["ls", "/etc/geard-proof"], check=False).returncode != 0
    found = host.sh("cd /var/lib/containers/data/li/linker; ls -1 */mine").stdout.split()
    assert found == ["data-etc-geard%2Dproof/mine", "data-sub/mine"]
    host.gear("delete", "--purge", "linker")
    eventually(lambda: host.run(["ls", "/var/lib/containers/data/li/linker"], check=False).returncode)
    assert host.sh("cat /srv/proof/file; rm -r /srv/proof").stdout == "kept\n"
