"""Installing geard in a host, from the package that `scripts/package` makes of this tree."""

import hashlib
from pathlib import Path

from lab.host import Host
from lab.machine import LabError, run, write
from lab.places import TREE


def package() -> Path:
    """Build the Debian package of this tree, or find the one built of the same content before."""
    script = TREE / "scripts/package"
    if not script.exists():
        raise LabError(
            "there is no scripts/package to make geard's package with; `scripts/lab up --bare` installs none"
        )
    path = Path(run([script]).strip().splitlines()[-1])
    if path.suffix != ".deb" or not path.exists():
        raise LabError(f"{script} printed {path} last, which is no package")
    return path


def install(host: Host, package: Path) -> bool:
    """Install the package unless that very one is installed; whether it was. The agent runs afterwards."""
    digest = hashlib.sha256(package.read_bytes()).hexdigest()
    installed = host.directory / "geard.sha256"
    new = not installed.exists() or installed.read_text() != digest
    if new:
        installed.unlink(missing_ok=True)
        with package.open("rb") as file:
            host.run("sh", "-c", "cat >/root/geard.deb", stdin=file)
        host.run("dpkg", "--install", "/root/geard.deb")
        host.run("gear", "setup")
        write(installed, digest)
    host.run("systemctl", "start", "geard.socket")
    return new
