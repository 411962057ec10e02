"""Images of real programs, out of Debian's packages: for the examples, and the tests that run them as they stand.

They are made when somebody first wants one (a quarter of a minute, most of it fetching) and stay in the cache.
Each has the programs it names, the libraries these load, and its files of examples/images, over the sample
images' busybox. Whatever Debian a host has, they are of the newest.

    etcd       a member of a cluster; etcdctl
    haproxy    a proxy in front of up to eight applications
    shop-app   an application in Python that counts its visitors in redis
    redis      a store
    postgres   a database
    githost    git, for repositories that a host is to have (docs/GIT.md)
"""

import os
import tarfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from lab import apt, base, images
from lab.host import Host
from lab.images import Image, Layer
from lab.machine import LabError, remove, run, say
from lab.places import CACHE, TREE

FILES = TREE / "examples/images"
POSTGRES = "usr/lib/postgresql/17"


@dataclass(frozen=True)
class Application:
    image: Image
    packages: tuple[str, ...]
    programs: tuple[str, ...]
    """paths; the libraries that they load come with them"""
    folders: tuple[str, ...] = ()
    """taken whole; files too"""


def _image(name: str, port: int, *files: str, command: tuple[str, ...], stop_signal: str = "") -> Image:
    """An image with files: PATH=FILE_OF_EXAMPLES."""
    texts = {path: (FILES / source).read_text() for path, _, source in (file.partition("=") for file in files)}
    exposed = f"{port}/tcp" if port else None
    return Image(name, (f"docker.io/geard/{name}",), command, texts, exposed, stop_signal)


def applications() -> tuple[Application, ...]:
    return (
        Application(
            _image("etcd", 2379, "bin/start-member=etcd/start-member", command=("/bin/start-member",)),
            ("etcd-server", "etcd-client"),
            ("usr/bin/etcd", "usr/bin/etcdctl"),
        ),
        Application(
            _image(
                "haproxy",
                8000,
                "etc/haproxy/haproxy.cfg=haproxy/haproxy.cfg",
                command=("/usr/sbin/haproxy", "-W", "-f", "/etc/haproxy/haproxy.cfg"),
                stop_signal="SIGUSR1",  # ends when its connections have; TERM would cut them
            ),
            ("haproxy",),
            ("usr/sbin/haproxy",),
        ),
        Application(
            _image(
                "shop-app",
                8080,
                "srv/shop/app.py=shop-app/app.py",
                command=("/usr/bin/python3", "/srv/shop/app.py"),
            ),
            ("python3-minimal", "libpython3-stdlib"),
            ("usr/bin/python3",),
            ("usr/lib/python3*",),
        ),
        Application(
            _image(
                "redis",
                6379,
                command=("/usr/bin/redis-server", "--protected-mode", "no", "--dir", "/data", "--save", "60", "1"),
            ),
            ("redis-server", "redis-tools"),
            ("usr/bin/redis-server", "usr/bin/redis-cli"),
        ),
        Application(
            _image(
                "postgres",
                5432,
                "bin/start-database=postgres/start-database",
                command=("/bin/start-database",),
                stop_signal="SIGINT",  # TERM would wait until its clients go
            ),
            ("postgresql-17",),
            tuple(f"{POSTGRES}/bin/{name}" for name in ("postgres", "initdb", "psql")),
            (f"{POSTGRES}/lib/*.so", "usr/share/postgresql/17", "usr/share/zoneinfo/Etc"),
        ),
        Application(
            _image("githost", 0, command=("/bin/sh",)),
            ("git", "ca-certificates"),
            ("usr/bin/git", "usr/lib/git-core/git-remote-http"),
            ("usr/lib/git-core", "usr/share/git-core/templates"),
        ),
    )


def names() -> tuple[str, ...]:
    return tuple(application.image.name for application in applications())


def ready(wanted: Sequence[Application]) -> Path:
    """The folder with the archives of these, all made together if they are not there."""
    debian = base.ready(base.DEFAULT_SUITE).layers[-1]
    ways = [Path(__file__).read_text(), Path(images.__file__).read_text()]
    made_of = base.digest(debian.name, ways, [asdict(application) for application in wanted])
    directory = CACHE / "applications" / made_of
    base.once(directory, lambda new: build(debian, new, wanted))
    return directory


def build(debian: Path, new: Path, wanted: Sequence[Application]) -> None:
    say(f"making images of {', '.join(application.image.name for application in wanted)}")
    unpacked = new.with_name(new.name + ".packages")
    remove(unpacked)
    unpack(sorted({package for application in wanted for package in application.packages}), unpacked)
    new.mkdir()
    below = images.bottom(debian)
    for application in wanted:
        images.archive(
            application.image,
            [below, programs_layer(unpacked, application)],
            new / f"{application.image.name}.tar",
        )
    remove(unpacked)


def unpack(packages: Sequence[str], new: Path) -> None:
    """Packages and what they depend on, unpacked and no more."""
    run([
        "mmdebstrap",
        "--quiet",
        *base.OPTIONS,
        "--variant=extract",  # the last one counts
        *(f"--aptopt={setting}" for setting in apt.settings()),
        f"--include={','.join(packages)}",
        base.DEFAULT_SUITE,
        new,
        apt.mirror(),
    ])  # fmt: skip


def programs_layer(root: Path, application: Application) -> bytes:
    """The programs of an application and all they need, as packages in `root` have them."""
    files = {path for program in application.programs for path in needed(root, program)}
    for pattern in application.folders:
        files |= {str(path.relative_to(root)) for folder in root.glob(pattern) for path in _all_of(folder)}
    layer = Layer()
    layer.link("lib", "usr/lib")
    layer.link("lib64", "usr/lib64")
    for folder in sorted({str(parent) for file in files for parent in Path(file).parents} - {"."}):
        layer.directory(folder)
    for file in sorted(files):
        path = root / file
        if path.is_symlink():
            layer.link(file, str(path.readlink()))
        elif path.is_file():
            layer.file(file, path.read_bytes(), path.stat().st_mode & 0o777)
    return layer.done()


def _all_of(path: Path) -> Iterable[Path]:
    return path.rglob("*") if path.is_dir() else [path]


def needed(root: Path, program: str) -> set[str]:
    """A program, what it is a link to, and the libraries that it loads, as its own loader finds them."""
    loader = next(iter(sorted(root.glob("usr/lib*/ld-linux-*.so.*"))), None)
    if loader is None:
        raise LabError(f"there is no dynamic loader among the packages of {program}")
    listed = run(["chroot", root, f"/{loader.relative_to(root)}", "--list", f"/{program}"])
    found = {program} | {str(loader.relative_to(root))}
    found |= {line.split(" => ")[1].split()[0].lstrip("/") for line in listed.splitlines() if " => /" in line}
    for file in list(found):
        at = file
        while (root / at).is_symlink():
            at = os.path.normpath(os.path.join("/", os.path.dirname(at), (root / at).readlink()))[1:]
            found.add(at)
    return found


def load(host: Host, wanted: Iterable[str], directory: Path) -> None:
    """Have these images in a host's store."""
    for name in wanted:
        archive = directory / f"{name}.tar"
        status, had = host.ask("podman", "image", "inspect", "--format", "{{.Id}}", f"docker.io/geard/{name}")
        if status or had.strip() != id_of(archive):
            with archive.open("rb") as file:
                host.run("podman", "load", "--quiet", stdin=file)


def id_of(archive: Path) -> str:
    """An image's id, which is the digest of its configuration."""
    with tarfile.open(archive) as tar:
        return next(name.removesuffix(".json") for name in tar.getnames() if name.endswith(".json"))
