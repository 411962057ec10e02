"""Builds dist/geard_VERSION_ARCH.deb, for Debian 12 and 13, and prints its path.

The package has an environment of its own under /opt/geard, laid out as a venv over the distribution's python3
(so that apt's python3-systemd and python3-nftables are seen), with one site-packages for each Python it may
meet: a release upgrade from 12 to 13 changes python3 under it, and gear works before and after.

What others made is fetched once for a lock file and kept in .cache/package; the rest takes a second or two.
"""

from __future__ import annotations

import gzip
import hashlib
import itertools
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from packaging.markers import Marker

TOP = Path(__file__).resolve().parent.parent
LOCK = TOP / "requirements/runtime.txt"
PYTHONS = ("3.11", "3.13")  # Debian 12's and 13's
GLIBC = 36  # Debian 12's: wheels for any glibc from 2.17 to 2.36 do
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
UNIX_DATE = 1_700_000_000  # of a tree without commits
UNNEEDED = [
    "*.pyi",
    "*.pyx",
    "*.pxd",
    "*.c",
    "*.h",
    "tests",
    "test",
    "bin",
    "RECORD",
    "INSTALLER",
    "REQUESTED",
]
SOURCES = [
    "src",
    "packaging",
    "requirements/runtime.txt",
    "pyproject.toml",
    "LICENSE",
    "README.md",
    "scripts/package",
]


def run(*command: str | Path, **environment: str) -> str:
    done = subprocess.run(
        [str(word) for word in command],
        cwd=TOP,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"scripts/package: {command[0]} failed ({done.returncode})\n{done.stdout}")
    return done.stdout


def main() -> None:
    architecture = run("dpkg", "--print-architecture").strip()
    date = release_date()
    version = own_version()
    package = TOP / "dist" / f"geard_{version}_{architecture}.deb"
    stamp = TOP / ".cache/package" / f"{package.name}.stamp"
    state = f"{digest(source_files())} {date}"
    if not (package.exists() and stamp.exists() and stamp.read_text() == state):
        package.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="geard-package-") as folder:
            build(Path(folder), package, version=version, architecture=architecture, date=date)
        stamp.write_text(state)
    print(package)


def release_date() -> int:
    """The time that everything in the package carries, so that the same tree gives the same bytes."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(given)
    asked = subprocess.run(
        ["git", "log", "-1", "--format=%ct"], cwd=TOP, capture_output=True, text=True, check=False
    )
    return int(asked.stdout) if asked.returncode == 0 and asked.stdout.strip() else UNIX_DATE


def own_version() -> str:
    found = re.search(r'^__version__ = "([^"]+)"', (TOP / "src/geard/__init__.py").read_text(), re.MULTILINE)
    if not found:
        raise SystemExit("scripts/package: no __version__ in src/geard/__init__.py")
    return found[1]


def source_files() -> Iterator[Path]:
    for name in SOURCES:
        place = TOP / name
        below = place.rglob("*") if place.is_dir() else [place]
        yield from sorted(file for file in below if file.is_file() and "__pycache__" not in file.parts)


def digest(files: Iterable[Path]) -> str:
    total = hashlib.sha256()
    for file in files:
        total.update(f"{file.relative_to(TOP)} {file.stat().st_mode:o} ".encode())
        total.update(hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()


def build(folder: Path, package: Path, *, version: str, architecture: str, date: int) -> None:
    """Lay the tree out under `folder`, then let dpkg-deb pack it."""
    root = folder / "root"
    environment(root / "opt/geard", MACHINES[architecture])
    own_wheel(folder, root / "opt/geard", date)
    unit_hooks(root / "usr/lib/geard")
    for hook in sorted(TOP.glob("src/geard/*/git_hooks/*")):
        put(hook, root / "usr/lib/geard/git-hooks" / hook.name, 0o755)
    for source, place, mode in STATIC:
        for file in sorted((TOP / "packaging").glob(source)):
            put(file, root / place / (file.name if place.endswith("/") else ""), mode)
    put(TOP / "LICENSE", root / "usr/share/doc/geard/copyright")
    man_pages(root / "usr/share/man/man1", date)
    maintainer_files(root, version=version, architecture=architecture)
    for path in (root, *root.rglob("*")):
        os.utime(path, (date, date), follow_symlinks=False)
    # zstd: Debian 12's dpkg reads it, and xz would take most of the time
    options = ["--root-owner-group", "-Zzstd", "-z9"]
    built = package.with_suffix(".new")
    run("dpkg-deb", *options, "--build", root, built, SOURCE_DATE_EPOCH=str(date))
    built.rename(package)


STATIC = (
    ("gear", "usr/bin/", 0o755),
    ("switchns", "usr/bin/", 0o755),  # not set-uid, as the original's was: it says why
    ("systemd/*", "usr/lib/systemd/system/", 0o644),
    ("ctr-.service.d/*", "usr/lib/systemd/system/ctr-.service.d/", 0o644),
    ("user@.service.d/*", "usr/lib/systemd/system/user@.service.d/", 0o644),
    ("sysusers.d/*", "usr/lib/sysusers.d/", 0o644),
    ("tmpfiles.d/*", "usr/lib/tmpfiles.d/", 0o644),
    ("sysctl.d/*", "usr/lib/sysctl.d/", 0o644),
    ("podman.conf", "usr/lib/geard/", 0o644),
    ("oci/*.json", "usr/share/containers/oci/hooks.d/", 0o644),
    ("completions/gear.bash", "usr/share/bash-completion/completions/gear", 0o644),
    ("completions/_gear", "usr/share/zsh/vendor-completions/", 0o644),
    ("completions/gear.fish", "usr/share/fish/vendor_completions.d/", 0o644),
)


def put(source: Path, target: Path, mode: int = 0o644) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(mode)


def environment(prefix: Path, machine: str) -> None:
    """A venv made by hand: what `python3 -m venv --system-site-packages` makes, but for several Pythons."""
    shutil.copytree(third_party(machine), prefix)
    (prefix / "pyvenv.cfg").write_text("home = /usr/bin\ninclude-system-site-packages = true\n")
    (prefix / "bin").mkdir()
    (prefix / "bin/python3").symlink_to("/usr/bin/python3")


def site_packages(prefix: Path, python: str) -> Path:
    return prefix / f"lib/python{python}/site-packages"


def third_party(machine: str) -> Path:
    """The folder with what the lock file names, for every Python; made when there is none for it yet."""
    choices = f"{machine} {PYTHONS} {GLIBC} {UNNEEDED}".encode()
    kept = TOP / ".cache/package" / hashlib.sha256(choices + LOCK.read_bytes()).hexdigest()[:16]
    if kept.exists():
        return kept
    print("scripts/package: fetching what requirements/runtime.txt names", file=sys.stderr)
    kept.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(dir=kept.parent))
    try:
        fresh.chmod(0o755)
        for python in PYTHONS:
            fill(site_packages(fresh, python), python, machine)
        fresh.rename(kept)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return kept


def fill(target: Path, python: str, machine: str) -> None:
    """Install the locked wheels into `target`, for another Python than the one that runs this, if need be."""
    platforms = [
        f"manylinux2014_{machine}",
        *(f"manylinux_2_{minor}_{machine}" for minor in range(17, GLIBC + 1)),
    ]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as lock:
        lock.writelines(locked(LOCK.read_text(), python, machine))
        lock.flush()
        run(
            sys.executable, "-m", "pip", "-qq", "--disable-pip-version-check", "install",
            "--target", target,
            "--python-version", python,
            "--implementation", "cp",
            *(word for platform in platforms for word in ("--platform", platform)),
            "--only-binary", ":all:",
            "--no-deps",
            "--no-compile",
            "--require-hashes",
            "--requirement", lock.name,
        )  # fmt: skip
    for pattern in UNNEEDED:
        for unneeded in list(target.rglob(pattern)):
            shutil.rmtree(unneeded) if unneeded.is_dir() else unneeded.unlink(missing_ok=True)


def locked(lock: str, python: str, machine: str) -> Iterator[str]:
    """The entries of a lock file that apply to `python`; pip would ask the Python it runs on."""
    there = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "platform_machine": machine,
        "sys_platform": "linux",
        "platform_system": "Linux",
        "os_name": "posix",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    for entry in re.findall(r"^[a-z0-9].*(?:\n[ \t]+--hash.*)+", lock, re.MULTILINE | re.IGNORECASE):
        first, _, hashes = entry.partition("\n")
        requirement, _, marker = first.removesuffix("\\").partition(";")
        if not marker.strip() or Marker(marker.strip()).evaluate(there):
            yield f"{requirement.strip()} \\\n{hashes}\n"


def own_wheel(folder: Path, prefix: Path, date: int) -> None:
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, SOURCE_DATE_EPOCH=str(date))
    (wheel,) = folder.glob("geard-*.whl")
    for python in PYTHONS:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site_packages(prefix, python))
        for path in site_packages(prefix, python).rglob("*"):
            path.chmod(0o755 if path.is_dir() or path.suffix == ".so" else 0o644)


def unit_hooks(target: Path) -> None:
    """Programs that systemd runs inside somebody's waiting time: standard library only, no venv."""
    for source in sorted(TOP.glob("src/geard/**/unit_hooks/*.py")):
        if source.name.startswith("_"):
            continue
        program = target / f"gear-{source.stem.replace('_', '-')}"
        short_cut = source.with_suffix(".sh")  # a shell's way through the usual case, which calls the other
        if short_cut.exists():
            _write_program(program, short_cut.read_text())
            program = program.with_suffix(".py")
        if program.exists():
            raise SystemExit(f"scripts/package: two hooks named {source.name}")
        text = re.sub(r"\A#!.*\n", "", source.read_text())
        _write_program(program, f"#!/usr/bin/python3 -IS\n{text}")
    for source in sorted(TOP.glob("src/geard/**/unit_hooks/*.sh")):
        if not source.with_suffix(".py").exists():
            _write_program(target / f"gear-{source.stem}", source.read_text())


def _write_program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def man_pages(target: Path, date: int) -> None:
    if not (TOP / "src/geard/__main__.py").exists():
        print("scripts/package: no man pages: there is no src/geard/__main__.py", file=sys.stderr)
        return
    run(sys.executable, TOP / "packaging/manpages.py", target, SOURCE_DATE_EPOCH=str(date))
    for page in sorted(target.iterdir()):
        packed = target / f"{page.name}.gz"
        packed.write_bytes(gzip.compress(page.read_bytes(), mtime=0))
        page.unlink()


def maintainer_files(root: Path, *, version: str, architecture: str) -> None:
    size = sum(path.lstat().st_size for path in root.rglob("*") if not path.is_dir()) // 1024
    fields = {
        "VERSION": version,
        "ARCHITECTURE": architecture,
        "SIZE": str(size),
        "PYTHON": python_dependency(),
    }
    templates = TOP / "packaging/debian"
    control = re.sub(r"@([A-Z]+)@", lambda field: fields[field[1]], (templates / "control.in").read_text())
    target = root / "DEBIAN"
    target.mkdir()
    (target / "control").write_text(control)
    put(templates / "triggers", target / "triggers")
    for script in ("postinst", "prerm", "postrm"):
        put(templates / script, target / script, 0o755)


def python_dependency() -> str:
    """python3 in exactly the versions that there is a site-packages for, as a Depends can say it."""
    minors = sorted(int(python.partition(".")[2]) for python in PYTHONS)
    gaps = (
        f"python3 (<< 3.{low + 1}) | python3 (>= 3.{high})"
        for low, high in itertools.pairwise(minors)
        if high > low + 1
    )
    return ", ".join((f"python3 (>= 3.{minors[0]})", *gaps, f"python3 (<< 3.{minors[-1] + 1})"))


if __name__ == "__main__":
    os.umask(0o022)
    main()
