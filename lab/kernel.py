"""The disk of a virtual machine: a Debian host with a kernel of its own, SELinux, AppArmor and quotas, as an image
that qemu boots. Made once, like the base that it begins with; each machine then has a copy.
"""

import io
import lzma
import shutil
from dataclasses import dataclass
from pathlib import Path

from lab import apt, base, door, furnish, images, relay
from lab.machine import LabError, remove, run, say
from lab.places import CACHE

SUITE = "trixie"
PACKAGES = "udev kmod xfsprogs quota apparmor selinux-policy-default selinux-utils policycoreutils selinux-basics"
KERNEL = "linux-image-cloud-amd64"
SIZE = "6G"
"""of the root's file system; blocks that nobody wrote take no room"""
EARLY_MODULES = ("virtio_blk", "quota_v2", "virtio_net")
"""what the root cannot be mounted without (ext4 is in the kernel); and the network, so that it waits for nobody"""

MODULES = """
overlay veth bridge tun fuse nf_tables nft_chain_nat nft_compat nft_masq nft_nat xt_MASQUERADE xt_addrtype
xt_conntrack xt_comment br_netfilter xfs
"""
# Debian's policy lets nothing work that runs gears and logins, so those are not held where it is enforced (docs/
# ISOLATION.md has this list); containers, and what is in them, are.
NOT_HELD = "initrc_t podman_t podman_conmon_t sshd_t systemd_userdbd_t unconfined_t"
# And a program that is lent for sftp is a container's to open.
POLICY = (
    "".join(f"(typepermissive {kind})\n" for kind in NOT_HELD.split())
    + "(allow container_t initrc_t (fd (use)))\n"
)
FSTAB = "/dev/vda / ext4 defaults,usrquota,grpquota,prjquota 0 1\n"
POLICY_FILE = "/etc/selinux/lab.cil"
LIBRARY = "/usr/local/lib/geard-lab"

# The root's network is as in any other host of the lab: no uplink, the addresses of this machine alone.
NETWORK = """#!/bin/sh
set -eu
said() { sed -n "s/.*lab\\.$1=\\([^ ]*\\).*/\\1/p" /proc/cmdline; }
ip address replace "$(said address)/24" dev eth0
ip address replace "$(said address6)/64" dev eth0 nodad
ip link set eth0 up
number=$(said number)
{
    echo '127.0.0.1 localhost'
    echo '::1 localhost ip6-localhost'
    for n in 1 2 3 4 5 6 7 8 9; do
        echo "10.77.$number.$((10 + n)) h$n"
        printf 'fd77:0:0:%x::%s h%s-6\\n' "$number" $((10 + n)) $n
    done
} >/etc/hosts
"""
NETWORK_SERVICE = """[Unit]
DefaultDependencies=no
After=systemd-remount-fs.service
Before=network.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/sbin/lab-network

[Install]
WantedBy=sysinit.target
"""
RELAY_SERVICE = f"""[Unit]
Description=Door of the lab, for who is outside of the machine
DefaultDependencies=no
After=lab-network.service lab-door.service

[Service]
Environment=PYTHONPATH={LIBRARY}
ExecStart=/usr/bin/python3 -S -m lab.relay inside /run/geard-lab/door
LoadCredential=lab.token
Restart=always
RestartSec=100ms

[Install]
WantedBy=sysinit.target
"""
INIT = """#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
for module in /modules/*; do /bin/busybox insmod "$module"; done
until /bin/busybox mount -t ext4 -o rw,usrquota,grpquota,prjquota /dev/vda /root; do /bin/busybox sleep 0.1; done
/bin/busybox umount /dev
exec /bin/busybox switch_root /root /usr/lib/systemd/systemd
"""
# apparmor.service compiles profiles of programs that are not here, for a minute where the processor is emulated.
MASKED = f"{furnish.MASKED} quotaon-root.service selinux-autorelabel-mark.service apparmor.service"
ENABLED = f"{furnish.ENABLED} lab-network.service lab-relay.service"


@dataclass(frozen=True)
class Image:
    """What a machine boots from."""

    directory: Path

    @property
    def disk(self) -> Path:
        return self.directory / "disk.img"

    @property
    def kernel(self) -> Path:
        return self.directory / "vmlinuz"

    @property
    def initrd(self) -> Path:
        return self.directory / "initrd"


def files() -> dict[str, str]:
    return furnish.files(furnish.Limits(files=20000, processes=90000)) | {
        "/etc/fstab": FSTAB,
        POLICY_FILE: POLICY,
        "/etc/modules-load.d/lab.conf": "\n".join(MODULES.split()) + "\n",
        "/etc/systemd/system/lab-door.service.d/vm.conf": "[Service]\nRuntimeDirectory=geard-lab\n",
        "/etc/systemd/system/lab-network.service": NETWORK_SERVICE,
        "/etc/systemd/system/lab-relay.service": RELAY_SERVICE,
        "/usr/local/sbin/lab-network": NETWORK,
        f"{LIBRARY}/lab/__init__.py": "",
        f"{LIBRARY}/lab/door.py": Path(door.__file__).read_text(),
        f"{LIBRARY}/lab/relay.py": Path(relay.__file__).read_text(),
    }


def ready() -> Image:
    """The image, made if it is not there."""
    debian = base.debian_of(SUITE)
    sample_images = images.ready(debian)
    ways = Path(__file__).read_text()
    what = base.digest(debian.name, files(), MASKED, ENABLED, furnish.DISABLED, sample_images.name, ways)
    directory = CACHE / "vm" / what
    base.once(directory, lambda new: build(debian, sample_images, new))
    return Image(directory)


def build(debian: Path, sample_images: Path, new: Path) -> None:
    say("building the disk of virtual machines, about a minute")
    root = new / "root"
    new.mkdir(parents=True)
    run(["cp", "--archive", "--reflink=auto", debian, root])
    add_packages(root)
    base.write_over(root, files(), sample_images, MASKED, ENABLED)
    kernel = next(root.glob("boot/vmlinuz-*"))
    shutil.copyfile(kernel, new / "vmlinuz")
    (new / "initrd").write_bytes(initrd(root))
    run(["chroot", root, "semodule", "-N", "-i", POLICY_FILE])
    # labels as the policy has them, so that the first boot need not write them
    run(["chroot", root, "setfiles", "-F", "/etc/selinux/default/contexts/files/file_contexts", "/"])
    run([
        "mke2fs", "-q", "-t", "ext4", "-F",
        "-O", "quota,project",
        "-E", "quotatype=usrquota:grpquota:prjquota",
        "-d", root,
        new / "disk.img", SIZE,
    ])  # fmt: skip
    remove(root)


def add_packages(root: Path) -> None:
    """Packages by apt; of the kernel's the files alone, since all it would do besides is an initrd of its own."""
    shutil.copyfile("/etc/resolv.conf", root / "etc/resolv.conf")
    settings = "\n".join(apt.settings()) + "\n"
    (root / "etc/apt/apt.conf.d/98lab").write_text(settings)
    script = f"""
set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq install --yes --no-install-recommends {PACKAGES}
cd /tmp
apt-get -qq download "$(apt-cache depends {KERNEL} | sed -n 's/.*Depends: \\(linux-image-[0-9].*\\)/\\1/p')"
dpkg-deb --extract linux-image-*.deb /
rm linux-image-*.deb
depmod "$(ls /lib/modules)"
apt-get clean
rm -rf /var/lib/apt/lists/* /etc/apt/apt.conf.d/98lab
"""
    run(["mount", "--bind", "/dev", root / "dev"])
    run(["mount", "-t", "proc", "proc", root / "proc"])
    try:
        run(["chroot", root, "sh", "-c", script])
    finally:
        run(["umount", root / "dev"])
        run(["umount", root / "proc"])


def initrd(root: Path) -> bytes:
    """All that has to happen before the root is there: load two modules, and mount it."""
    library = next(root.glob("usr/lib/modules/*"))
    needs = {
        Path(name).name.partition(".")[0]: (name, rest.split())
        for name, _, rest in (line.partition(":") for line in (library / "modules.dep").read_text().splitlines())
    }
    found: list[str] = []
    for module in EARLY_MODULES:
        if module not in needs:
            raise LabError(f"the kernel has no module {module}")
        name, others = needs[module]
        found += [path for path in (*reversed(others), name) if path not in found]
    archive = Cpio()
    for directory in ("bin", "dev", "modules", "root"):
        archive.add(directory, 0o40755, b"")
    archive.add("bin/busybox", 0o100755, (root / "bin/busybox").read_bytes())
    archive.add("init", 0o100755, INIT.encode())
    for number, path in enumerate(found):
        content = (library / path).read_bytes()
        archive.add(
            f"modules/{number}.ko", 0o100644, lzma.decompress(content) if path.endswith(".xz") else content
        )
    return archive.done()


class Cpio:
    """An archive in the form that the kernel unpacks ("newc")."""

    def __init__(self) -> None:
        self._bytes = io.BytesIO()
        self._count = 0

    def add(self, name: str, mode: int, content: bytes) -> None:
        self._count += 1
        path = name.encode() + b"\0"
        fields = (self._count, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(path), 0)
        self._bytes.write(b"070701" + b"".join(b"%08x" % field for field in fields))
        for piece in (path, content):
            self._bytes.write(piece)
            self._bytes.write(b"\0" * (-self._bytes.tell() % 4))

    def done(self) -> bytes:
        self.add("TRAILER!!!", 0, b"")
        return self._bytes.getvalue()
