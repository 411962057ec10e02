"""Logins by SSH on a real host: Debian's sshd, the stock clients, podman."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import time
from collections.abc import Generator, Sequence

import pytest
from tests.lab.conftest import BOTH, Shell, drive, eventually
from tests.lab.test_sessions import inside

pytestmark = pytest.mark.lab

TOOLS = "geard/test-tools"
APP = "geard/busybox-http-app"
OPTIONS = (
    *("-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
    *("-o", "LogLevel=ERROR", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"),
)
KEY = "/root/ssh/key"
PATIENT = "/etc/ssh/sshd_config.d/00-test.conf"
# The host's own programs, as an image with OpenSSH has them.
OPENSSH = """
for each in usr/bin:usr/bin usr/lib:usr/lib usr/lib:lib usr/lib64:lib64; do
    [ ! -d /${each%:*} ] || echo -v /${each%:*}:/${each#*:}:ro
done
"""


@pytest.fixture(scope="module")
def sshd(h1: Shell) -> Generator[None]:
    h1.sh("rm -rf /root/ssh; mkdir -p /root/ssh; cd /root/ssh; ssh-keygen -q -t ed25519 -N '' -C me -f key")
    # Who is refused again and again has to wait (OpenSSH 9.8): here that is on purpose. sshd tells its settings
    # when it has run once.
    h1.run(["systemctl", "restart", "ssh.service"])
    h1.sh(
        f"sshd -T 2>/dev/null | grep -qi ^persourcepenalties && echo 'PerSourcePenalties no' >{PATIENT}",
        check=False,
    )
    h1.run(["systemctl", "restart", "ssh.service"])
    assert "  logins by SSH: /etc/ssh/sshd_config.d/10-geard.conf\n" in h1.gear("setup").stdout
    yield
    h1.sh(f"rm -f {PATIENT}; systemctl stop ssh.service")


@pytest.fixture
def web(host: Shell, sshd: None) -> Shell:
    host.gear("install", TOOLS, "web", "--start", "-p", "none", "GREETING=hello there", "-v", "/data")
    host.gear("keys", "web", "--key-file", f"{KEY}.pub")
    return host


def ssh_words(*words: str, to: str = "ctr-web", key: str = KEY) -> list[str]:
    options = [word for word in words if word.startswith("-")]
    return ["ssh", *OPTIONS, "-i", key, *options, f"{to}@127.0.0.1", *words[len(options) :]]


def ssh(
    host: Shell, *words: str, to: str = "ctr-web", key: str = KEY, stdin: str | bytes = b""
) -> subprocess.CompletedProcess[str]:
    return host.run(ssh_words(*words, to=to, key=key), check=False, stdin=stdin)


def own(host: Shell) -> str:
    """The number of the gear's first program."""
    return host.sh("cat /run/geard/gears/ctr-web/pid").stdout.strip()


def inside_sum(host: Shell) -> str:
    return host.inside("web", "sha256sum", "/data/data").stdout.split()[0]


def sessions(host: Shell) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(host.gear("sessions", "-o", "json").stdout)
    return found


@BOTH
def test_a_command(web: Shell) -> None:
    done = ssh(web, 'echo "$GREETING" $HOSTNAME; echo err >&2; exit 7')
    assert (done.returncode, done.stdout, done.stderr) == (7, "hello there web\n", "err\n")
    assert ssh(web, "cat", stdin="x\n").stdout == "x\n"
    assert ssh(web, "nosuch").returncode == 127
    # bytes as they are, both ways, much of it
    data = os.urandom(3_000_000)
    done = web.run(["sh", "-c", " ".join([*ssh_words("cat"), "| sha256sum"])], stdin=data)
    assert done.stdout == web.run(["sha256sum"], stdin=data).stdout


@BOTH
def test_a_terminal(web: Shell) -> None:
    """It has a size and follows it; Ctrl-C reaches the program; its status is the shell's."""
    done = drive(
        web,
        ssh_words(),
        [
            ["size", 30, 100],
            ["expect", "# "],
            ["send", "stty size; echo $TERM; [ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo all three\n"],
            ["expect", "30 100\r\nvt220\r\nall three\r\n"],
            ["size", 40, 120],
            ["pause", 1],
            ["send", "stty size\n"],
            ["expect", "40 120\r\n"],
            ["send", "echo start; sleep 1000; echo ended\n"],
            ["expect", "start\r\n"],
            ["pause", 0.5],
            ["send", "\x03"],
            ["expect", "# "],
            ["send", "exit 9\n"],
        ],
    )
    assert done == {"status": 9, "restored": True}


def test_it_has_what_the_gear_has_and_no_more(web: Shell) -> None:
    def facts(text: str) -> dict[str, str]:
        return dict(line.split(":\t") for line in text.splitlines())

    ask = "grep -E '^(Cap|NoNew|Seccomp:)' /proc/{}/status"
    own, first = facts(ssh(web, ask.format("self")).stdout), facts(ssh(web, ask.format("1")).stdout)
    assert own["NoNewPrivs"] == "1" and own["Seccomp"] == "2"
    for name in ("CapBnd", "CapPrm", "CapEff"):
        assert int(own[name], 16) & ~int(first["CapBnd"], 16) == 0
    assert ssh(web, "id -u; hostname").stdout == "0\nweb\n"
    # outside, it is the gear's user, in the gear's control group
    web.sh(f"{' '.join(ssh_words('exec', 'sleep', '4747'))} </dev/null >/dev/null 2>&1 &")
    eventually(lambda: inside(web, "sleep 4747"))
    pid = inside(web, "sleep 4747").split()[0]
    assert web.run(["stat", "-c", "%U", f"/proc/{pid}"]).stdout == "ctr-web\n"
    group = (
        web.run(["grep", "pids", f"/proc/{pid}/cgroup"], check=False).stdout
        or web.sh(f"cat /proc/{pid}/cgroup").stdout
    )
    assert "ctr-web.service" in group
    web.gear("stop", "web")
    eventually(lambda: inside(web, "sleep 4747") == "")


def test_nothing_of_a_clients_environment_arrives(web: Shell) -> None:
    words = " ".join(["ssh", *OPTIONS, "-o", "'SendEnv=LC_ALL LANG'", "-i", KEY, "ctr-web@127.0.0.1", "env"])
    found = web.sh(f"LC_ALL=evil LANG=evil {words}").stdout
    assert "evil" not in found and "SSH" not in found and "GREETING=hello there" in found


def test_who_is_let_in(web: Shell) -> None:
    """Only who has a key that opens this very gear; nobody to a gear that is gone, or shares the host's users."""
    web.gear("install", TOOLS, "db", "--start", "-p", "none")
    web.gear("install", TOOLS, "all", "--simple", "-p", "none")
    web.gear("keys", "all", "--key-file", f"{KEY}.pub")
    for login in ("ctr-db", "ctr-all", "ctr-nosuch"):
        refused = ssh(web, "true", to=login)
        assert (refused.returncode, "Permission denied" in refused.stderr) == (255, True)
    fingerprint = web.run(["ssh-keygen", "-lf", f"{KEY}.pub"]).stdout.split()[1]
    web.gear("remove-keys", "web", "--key", fingerprint)
    assert ssh(web, "true").returncode == 255
    web.gear("keys", "web", "--key-file", f"{KEY}.pub")
    assert ssh(web, "true").returncode == 0
    web.gear("stop", "web")
    said = ssh(web, "true")
    assert (said.returncode, said.stderr.splitlines()[0]) == (125, "Error: web is not running")
    web.gear("delete", "web")
    assert ssh(web, "true").returncode == 255


def test_a_gear_that_shares_a_user_of_the_host(web: Shell) -> None:
    """Its login is its own; what is done in there is that user's outside, and opens nothing else."""
    web.sh("useradd --system --no-create-home alice; install -d -o alice -m 700 /srv/alice")
    try:
        web.gear("update", "web", "--host-user", "alice", "-v", "/srv/alice:/hers")
        assert ssh(web, "touch /hers/new; id -u").stdout == "0\n"
        assert web.run(["stat", "-c", "%U", "/srv/alice/new"]).stdout == "alice\n"
        assert ssh(web, "true", to="alice").returncode == 255, "the key opens the gear and not her account"
    finally:
        web.gear("delete", "--purge", "web")
        web.sh("rm -rf /srv/alice; userdel alice")


def test_every_kind_of_key(web: Shell) -> None:
    """Certificates too: that very one, as long as it is valid, and no other of its authority."""
    web.sh(
        "cd /root/ssh; for kind in rsa ecdsa; do ssh-keygen -q -t $kind -N '' -f $kind; done; "
        "for each in ca certified other old; do ssh-keygen -q -t ed25519 -N '' -f $each; done; "
        "for each in certified other; do ssh-keygen -q -s ca -I $each -n me,ctr-web $each.pub; done; "
        "ssh-keygen -q -s ca -I old -n me -V 20200101:20200102 old.pub; "
        "cat rsa.pub ecdsa.pub certified-cert.pub old-cert.pub | gear keys web"
    )
    for name in ("rsa", "ecdsa", "certified"):
        assert ssh(web, "true", key=f"/root/ssh/{name}").returncode == 0, name
    for name in ("other", "old"):
        assert ssh(web, "true", key=f"/root/ssh/{name}").returncode == 255, name
    web.sh("rm /root/ssh/certified-cert.pub")
    assert ssh(web, "true", key="/root/ssh/certified").returncode == 255, "the key without its certificate"


def test_sessions_are_listed_and_told(web: Shell) -> None:
    fingerprint = web.run(["ssh-keygen", "-lf", f"{KEY}.pub"]).stdout.split()[1]
    began = web.run(["date", "+@%s"]).stdout.strip()
    web.sh(f"{' '.join(ssh_words('exec sleep 4748'))} </dev/null >/dev/null 2>&1 & echo $! >/root/ssh/pid")
    eventually(lambda: inside(web, "sleep 4748"))
    (found,) = sessions(web)
    assert (found["Id"], found["By"], found["Source"]) == ("web", fingerprint, "127.0.0.1")
    assert (found["Program"], found["Tty"]) == ("command", False)
    # who goes ends what ran for them
    web.sh("kill $(cat /root/ssh/pid)")
    eventually(lambda: inside(web, "sleep 4748") == "" and not sessions(web))
    words = ["journalctl", "-q", "--since", began, "-o", "cat", "GEARD_GEAR=web", f"GEARD_KEY={fingerprint}"]
    eventually(lambda: len(web.run(words).stdout.splitlines()) == 2)
    opened, ended = web.run(words).stdout.splitlines()
    assert opened == f"session {found['Session']} of web (command, {fingerprint} from 127.0.0.1): opened"
    assert ended.startswith(f"session {found['Session']} of web") and "ended with" in ended


def test_forwarding_leads_to_the_gears_own_ports_alone(web: Shell) -> None:
    web.gear("install", APP, "app", "--start", "-p", "8080:0")
    web.gear("keys", "app", "--key-file", f"{KEY}.pub")
    port = web.port("app")
    address = next(fact["Text"] for fact in web.status("app")["Facts"] if fact["Label"] == "Address").split()[0]
    eventually(lambda: "Hello" in web.page(port))

    def page(target: str, to: str = "ctr-app") -> str:
        """What is at `target`, as who is logged in sees it."""
        words = " ".join([*ssh_words("-W", to=to)[:-1], target, f"{to}@127.0.0.1"])
        return web.sh(f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | {words}", check=False).stdout

    assert "Hello from app" in page(f"127.0.0.1:{port}")
    assert "Hello from app" in page(f"{address}:8080")
    for target in ("127.0.0.1:22", "127.0.0.1:43273", f"{web.address}:22"):
        assert page(target) == ""
    assert page(f"127.0.0.1:{port}", to="ctr-web") == "", "another gear's"
    for option in ("-R4747:127.0.0.1:22", "-R/tmp/x:/run/geard/geard.sock"):
        refused = ssh(web, "-o", "ExitOnForwardFailure=yes", option, "true")
        assert refused.returncode == 255
    agent = 'eval "$(ssh-agent)" >/dev/null; {}; kill $SSH_AGENT_PID'
    inner = " ".join([*ssh_words("-A"), "'echo $SSH_AUTH_SOCK'"])
    assert web.sh(agent.format(inner)).stdout == "\n"


def sftp(host: Shell, *lines: str, to: str = "ctr-web") -> subprocess.CompletedProcess[str]:
    words = ["sftp", *OPTIONS, "-i", KEY, "-b", "-", f"{to}@127.0.0.1"]
    return host.run(words, check=False, stdin="".join(f"{line}\n" for line in lines))


def test_copying(web: Shell) -> None:
    """By scp and sftp whatever the image has in it; by other programs where it has them."""
    web.sh("head -c 1000000 /dev/urandom >/root/ssh/data")
    scp = ["scp", *OPTIONS, "-i", KEY]

    def there_and_back(*way: str) -> None:
        web.run([*scp, *way, "/root/ssh/data", "ctr-web@127.0.0.1:/data/data"])
        web.run([*scp, *way, "ctr-web@127.0.0.1:/data/data", "/root/ssh/back"])
        assert inside_sum(web) == web.run(["sha256sum", "/root/ssh/data"]).stdout.split()[0]
        web.run(["cmp", "/root/ssh/data", "/root/ssh/back"])
        web.sh("rm /root/ssh/back")

    there_and_back()
    listed = sftp(
        web, "cd /data", "mkdir new", "put /root/ssh/data new/two", "chmod 700 new/two", "ls -1", "ls -1 new"
    )
    assert listed.stdout.splitlines()[-1] == "new/two", listed
    assert web.inside("web", "stat", "-c", "%a %u", "/data/new/two").stdout == "700 0\n"
    said = web.run([*scp, "-O", "/root/ssh/data", "ctr-web@127.0.0.1:/data/"], check=False)
    assert said.returncode != 0 and "scp: not found" in said.stderr
    web.sh(f"tar c -C /root/ssh data | {' '.join(ssh_words('tar x -C /data/new'))}")
    web.run(["gear", "cp", "web:/data/new/data", "/root/ssh/back"])
    web.run(["cmp", "/root/ssh/data", "/root/ssh/back"])
    web.gear("install", TOOLS, "web", "--start", "-p", "none", "-v", "/data", *web.sh(OPENSSH).stdout.split())
    there_and_back("-O")


def test_links_lead_sftp_to_the_gears_own_files(web: Shell) -> None:
    """Also where the gear swaps them all the while: what they lead to is looked for in there."""
    web.sh("rm -rf /srv/trap; mkdir -p /srv/trap; echo of the host >/srv/trap/file; chmod -R 777 /srv/trap")
    swap = "while :; do ln -s /srv/trap way; rm way; mkdir way; echo of the gear >way/file; rm -r way; done"
    web.sh(f"gear exec web -- sh -c {shlex.quote(f'cd /data; {swap}')} >/dev/null 2>&1 & echo $! >/root/ssh/pid")
    try:
        tries = ["-get /data/way/file /root/ssh/got", "-put /root/ssh/key.pub /data/way/planted"] * 20
        assert sftp(web, *tries).returncode == 0
    finally:
        web.sh("kill $(cat /root/ssh/pid)")
    assert web.sh("cat /root/ssh/got", check=False).stdout in ("", "of the gear\n")
    web.inside("web", "sh", "-c", "rm -rf /data/way; ln -s /srv/trap /data/way; ln -s /proc/self/root /data/root")
    for place in ("/data/way/file", "/data/root/srv/trap/file"):
        assert sftp(web, f"get {place} /root/ssh/got").returncode != 0
    assert sftp(web, "put /root/ssh/key.pub /data/way/planted").returncode != 0
    assert web.sh("cd /srv/trap; grep . *; rm -r /srv/trap").stdout == "of the host\n"


@pytest.mark.parametrize("engine", ["docker"], indirect=True)
def test_copying_is_the_images_own_on_docker(web: Shell) -> None:
    """It lends no files; and sshd lets through what a subsystem says in SFTP alone."""
    refused = sftp(web, "pwd")
    assert refused.returncode != 0 and "gear: this gear has no sftp-server" in refused.stderr
    web.gear("install", TOOLS, "web", "--start", "-p", "none", "-v", "/data", *web.sh(OPENSSH).stdout.split())
    assert sftp(web, "pwd").stdout.splitlines()[-1] == "Remote working directory: /"


# An image that has one program; whom it runs as is a number, and a name where there is an /etc/passwd.
BARE = """
rm -rf /root/ssh/image; mkdir -p /root/ssh/image/data; cd /root/ssh/image; cp /bin/busybox sleep; chmod 777 data
[ $0 = bare ] || { mkdir etc; echo 'someone:x:7:7::/:' >etc/passwd; }
tar c . | podman import -q --change 'CMD ["/sleep", "86400"]' --change 'USER 7' - localhost/$0
"""


def test_a_gear_without_a_shell_or_a_name_for_its_user(web: Shell) -> None:
    """sftp needs the name and no shell; the rest is said."""
    for image in ("bare", "named"):
        web.run(["sh", "-c", BARE, image])
        web.gear("install", f"localhost/{image}", image, "--start", "-p", "none")
        web.gear("keys", image, "--key-file", f"{KEY}.pub")
    refused = sftp(web, "pwd", to="ctr-bare")
    assert refused.returncode != 0 and "no /etc/passwd in which the user stands" in refused.stderr, refused
    done = sftp(web, "put /root/ssh/key.pub /data/key", "ls -n /data", to="ctr-named")
    assert done.returncode == 0 and " 7 " in done.stdout, done
    said = ssh(web, "true", to="ctr-named")
    assert said.returncode in (126, 127) and "/bin/sh" in said.stderr, said
    web.sh("rm -r /root/ssh/image")


def test_why_nothing_is_copied_is_said(web: Shell) -> None:
    web.gear("stop", "web")
    refused = sftp(web, "pwd")
    assert refused.returncode != 0 and "gear: web is not running" in refused.stderr


def test_sftp_has_what_the_gear_has_and_no_more(web: Shell) -> None:
    """The program is the host's. What it is and may is the gear's, and nothing of the host's is open in it."""
    web.sh(f"mkfifo /root/ssh/line; {' '.join(ssh_words('-s', 'sftp'))} </root/ssh/line >/dev/null 2>&1 & true")
    web.sh("sleep 1000 >/root/ssh/line & echo $! >/root/ssh/holder")
    server = "/proc/self/fd/3 .* /proc/self/fd/4"
    spaces = " ".join(f"ns/{name}" for name in ("user", "mnt", "pid", "net", "ipc", "uts"))
    ask = f"for each in {spaces}; do readlink $each; done; cat cgroup; grep -E '^(Cap|NoNew|Seccomp:|Uid)' status"
    try:
        eventually(lambda: inside(web, server))
        it, first = f"/proc/{inside(web, server).split()[0]}", f"/proc/{own(web)}"
        assert web.sh(f"cd {it}; {ask}").stdout == web.sh(f"cd {first}; {ask}").stdout
        opened = web.sh(f"cd {it}/fd; for each in *; do readlink $each; done").stdout.splitlines()
        assert all(each.startswith(("pipe:", "/memfd:", "/dev/null")) for each in opened), opened
        assert web.sh(f"grep -E 'r-xp.* /(usr|lib|bin)' {it}/maps", check=False).stdout == ""
    finally:
        web.sh("kill $(cat /root/ssh/holder)")
    eventually(lambda: not sessions(web))


# An image that has a shell, rsync, and nothing else.
WITH_RSYNC = """
rm -rf /root/ssh/image; mkdir -p /root/ssh/image/bin /root/ssh/image/data; cd /root/ssh/image
cp /bin/busybox bin; ln -s busybox bin/sh
for each in /usr/bin/rsync $(ldd /usr/bin/rsync | grep -o '/[^ ]*'); do cp --parents $each .; done
echo root:x:0:0::/:/bin/sh | install -D /dev/stdin etc/passwd
tar c . | podman import -q --change 'CMD ["/bin/busybox", "sleep", "86400"]' - localhost/with-rsync
"""


def test_rsync(web: Shell) -> None:
    """Both ways, where the image has it; where not, that is what is said."""
    by_ssh = " ".join(["ssh", *OPTIONS, "-i", KEY])
    rsync = ["rsync", "-a", "--no-owner", "--no-group", "--numeric-ids", "-e", by_ssh]
    web.sh("mkdir -p /root/ssh/tree/sub; cd /root/ssh/tree; echo one >one; ln -s one link; seq 100000 >sub/two")
    refused = web.run([*rsync, "/root/ssh/tree", "ctr-web@127.0.0.1:/data"], check=False)
    assert refused.returncode != 0 and "rsync: not found" in refused.stderr
    web.sh(WITH_RSYNC)
    web.gear("install", "localhost/with-rsync", "synced", "--start", "-p", "none")
    web.gear("keys", "synced", "--key-file", f"{KEY}.pub")
    try:
        web.run([*rsync, "/root/ssh/tree", "ctr-synced@127.0.0.1:/data"])
        web.sh("echo more >>/root/ssh/tree/sub/two; rm /root/ssh/tree/link")
        sent = web.run([*rsync, "--stats", "--delete", "/root/ssh/tree", "ctr-synced@127.0.0.1:/data"]).stdout
        assert "Number of regular files transferred: 1" in sent and "Number of deleted files: 1" in sent
        web.run([*rsync, "ctr-synced@127.0.0.1:/data/tree/", "/root/ssh/mirror"])
        web.sh("cd /root/ssh; diff -r tree mirror")
    finally:
        web.gear("delete", "synced")
        web.sh("rm -rf /root/ssh/tree /root/ssh/mirror /root/ssh/image")


def test_no_service_of_its_own_is_started_for_a_gears_user(web: Shell) -> None:
    """systemd starts a service manager for who logs in; one more to be stopped when the machine goes down."""

    def manager(of: str) -> dict[str, str]:
        asked = [
            "systemctl",
            "show",
            f"user@{of}.service",
            "-p",
            "ActiveState,ConditionResult,ActiveEnterTimestamp",
        ]
        return dict(line.split("=", 1) for line in web.run(asked).stdout.splitlines())

    uid = web.run(["id", "-u", "ctr-web"]).stdout.strip()
    web.sh("id someone 2>/dev/null || useradd -m someone; cp -rT /root/ssh/ /home/someone/.ssh")
    web.sh("cd /home/someone/.ssh; mv key.pub authorized_keys; chown -R someone: .")
    own = web.run(["id", "-u", "someone"]).stdout.strip()
    ask = 'systemctl is-active "user@$(id -u).service"'
    try:
        assert ssh(web, ask, to="someone").stdout == "active\n", "an ordinary user's, as ever"
    finally:
        web.sh(f"systemctl kill -s KILL user@{own}.service")
    # It has been asked for, and was left out; while the session lasts, and behind it.
    web.sh(f"{' '.join(ssh_words('exec', 'sleep', '4749'))} </dev/null >/dev/null 2>&1 & echo $! >/root/ssh/pid")
    eventually(lambda: inside(web, "sleep 4749"))
    told = manager(uid)
    assert (told["ActiveState"], told["ConditionResult"], told["ActiveEnterTimestamp"]) == ("inactive", "no", "")
    web.sh("kill $(cat /root/ssh/pid)")
    eventually(lambda: inside(web, "sleep 4749") == "")


def test_a_shutdown_waits_for_no_login(web: Shell) -> None:
    assert ssh(web, "true").returncode == 0
    machine = web.lab.host(web.name)
    began = time.monotonic()
    with web.lab.lock():
        machine.power_off(180)
    assert time.monotonic() - began < 60, "systemd gives what does not stop 90 seconds and more"
    web.lab_does("up")
    web.run(["systemctl", "start", "ssh.service"])
    eventually(lambda: "ctr-web" in web.run(["podman", "ps", "--format", "{{.Names}}"]).stdout, 60)
    assert ssh(web, "hostname").stdout == "web\n"
    uid = web.run(["id", "-u", "ctr-web"]).stdout.strip()
    assert web.run(["systemctl", "is-active", f"user@{uid}.service"], check=False).stdout == "inactive\n"


def test_nobody_else_comes_through_the_door(web: Shell) -> None:
    """Only gears' users may call; and who calls enters their own gear, whatever they say."""
    script = (
        "import socket,array,sys;s=socket.socket(socket.AF_UNIX,socket.SOCK_SEQPACKET);"
        "s.connect('/run/geard/join.sock');s.sendmsg([sys.argv[1].encode()],"
        "[(socket.SOL_SOCKET,socket.SCM_RIGHTS,array.array('i',[0,1,2]).tobytes())]);print(s.recv(99))"
    )
    ask = ["python3", "-c", script]

    def call(uid: str, *groups: str, words: str = '{"Command": "hostname"}') -> subprocess.CompletedProcess[str]:
        to = ["setpriv", f"--reuid={uid}", f"--regid={uid}", *(groups or ("--clear-groups",)), "--"]
        return piped([*to, *ask, words])

    def piped(words: Sequence[str], given: str = "/dev/null") -> subprocess.CompletedProcess[str]:
        return web.sh(f"{{ {shlex.join(words)} <{given} | cat; }} 2>&1 | cat", check=False)

    group = web.sh("getent group geard-logins | cut -d: -f3").stdout.strip()
    assert "Permission denied" in call("65534").stdout
    uid = web.run(["id", "-u", "ctr-web"]).stdout.strip()
    assert "Permission denied" in call(uid).stdout, "as the gear's root has it, were the socket in there"
    member = f"--groups={group}"
    assert call(uid, member).stdout == "web\nb'0'\n"
    assert call(uid, member, words='{"Command": "hostname", "Id": "db"}').stdout == "web\nb'0'\n"
    for other in ("0", "65534", str(int(uid) + 1), "2000000000"):
        refused = call(other, member)
        assert refused.stdout.endswith("b'125'\n") and f"uid {other} is no gear's user" in refused.stdout
    for nonsense in ("", "x", "[]", '{"Command": 7}'):
        assert call(uid, member, words=nonsense or " ").stdout.endswith("b'125'\n")
    # files of the host, opened by whoever: no pipe, no terminal
    as_user = ["setpriv", f"--reuid={uid}", f"--regid={uid}", member, "--"]
    opened = piped([*as_user, *ask, '{"Command": "cat"}'], "/etc/passwd")
    assert "root" not in opened.stdout and opened.stdout.endswith("b'125'\n")


def test_setup_takes_back_what_sshd_does_not_take(host: Shell, sshd: None) -> None:
    drop_in = "/etc/ssh/sshd_config.d/10-geard.conf"
    host.sh("cp /etc/ssh/sshd_config /root/ssh/sshd_config")
    try:
        host.sh(f"rm {drop_in}; sed -i '/^Include/d' /etc/ssh/sshd_config")
        said = host.gear("setup").stdout
        assert "had no effect and was taken back" in said
        assert host.sh(f"ls {drop_in}", check=False).returncode != 0
        host.sh("echo 'NoSuchWord yes' >>/etc/ssh/sshd_config")
        assert "nothing was added to them" in host.gear("setup").stdout
    finally:
        host.sh("cp /root/ssh/sshd_config /etc/ssh/sshd_config")
    assert "made  logins by SSH" in host.gear("setup").stdout


def test_the_doctor_says_what_keeps_logins_out(host: Shell, sshd: None) -> None:
    def told() -> tuple[str, str]:
        findings = json.loads(host.gear("doctor", "-o", "json", check=False).stdout)[0]["Findings"]
        found = next(each for each in findings if each["What"] == "logins by SSH")
        return found["State"], found["Remedy"]

    assert told() == ("ok", "")
    host.run(["systemctl", "stop", "geard-join.socket"])
    try:
        assert told() == ("broken", "systemctl start geard-join.socket")
    finally:
        host.run(["systemctl", "start", "geard-join.socket"])
    host.sh("mv /etc/ssh/sshd_config.d/10-geard.conf /root/ssh/")
    try:
        assert told()[0] == "missing"
    finally:
        host.sh("mv /root/ssh/10-geard.conf /etc/ssh/sshd_config.d/")
    assert told() == ("ok", "")


def test_setup_needs_no_key_of_the_host(host: Shell, sshd: None) -> None:
    """A new machine makes its keys when sshd first starts, which may be later."""
    host.sh("mkdir /root/ssh/kept; mv /etc/ssh/ssh_host_* /root/ssh/kept; rm /etc/ssh/sshd_config.d/10-geard.conf")
    try:
        assert "made  logins by SSH" in host.gear("setup").stdout
        assert host.sh("ls /etc/ssh/ssh_host_*", check=False).returncode != 0
    finally:
        host.sh("mv /root/ssh/kept/* /etc/ssh; rmdir /root/ssh/kept; systemctl restart ssh.service")


def test_a_login_with_a_long_name(host: Shell, sshd: None) -> None:
    name = "A.name-that-is_too-long-for-a-login"
    host.gear("install", TOOLS, name, "--start", "-p", "none")
    host.gear("keys", name, "--key-file", f"{KEY}.pub")
    facts = {fact["Label"]: fact["Text"] for fact in host.status(name)["Facts"]}
    assert ssh(host, "hostname", to=facts["Login"].split()[0]).stdout == f"{name}\n"
