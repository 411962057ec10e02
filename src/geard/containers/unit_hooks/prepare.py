#!/usr/bin/python3 -IS
"""Before a gear starts: see that its image is here, and lay out its environment, secrets and links for the engine.

    gear-prepare.py ctr-ID

gear-prepare (prepare.sh) does the usual case and calls this for every other. systemd waits for it: it imports
what it needs where it needs it, mostly next to nothing. Only where the image is missing, or a program of the
admin's is to be run first, it calls all of geard (`gear complete ID`), and asks systemd for more time meanwhile.
"""

from __future__ import annotations

# ruff: noqa: PLC0415
import os
import sys

BASE = "/var/lib/containers"
RUN = "/run/geard/gears"
DEVICES = "/dev"
SOCKETS = "/proc/net"
SELINUX = "/sys/fs/selinux/enforce"
IMAGES = f"{BASE}/storage/overlay-images"
LAYERS = {"podman": f"{BASE}/storage/overlay", "docker": "/var/lib/docker/overlay2"}
DOCKER = "/run/docker.sock"
REMAPPED = "/run/geard/ports"
REMAP = "/usr/lib/geard/gear-remap"
PERMANENT = {4: "denied", 5: "not found", 64: "invalid"}  # exit codes of `gear`: trying again cannot help


def main(name: str) -> int:
    id = name.removeprefix("ctr-")
    state = f"{RUN}/{name}"
    os.makedirs(state, mode=0o700, exist_ok=True)
    for stale in ("pid", "cid", "failure", "permanent", "overridden", "links-pid"):
        _remove(f"{state}/{stale}")
    _remove_folder(f"{state}/secrets")
    run = f"{BASE}/units/{id[:2]}/ctr-{id}.run"
    _forgive(name, state)
    facts = _facts(run)
    hook_owed = os.path.exists(f"{BASE}/units/{id[:2]}/{id}/hook-owed")
    if hook_owed or "GEAR_RUN" not in facts or not _image_is_here(facts):
        status, words = _complete(id)
        if status:
            _write(f"{state}/failure", words)
            if status in PERMANENT:
                _write(f"{state}/permanent", facts.get("GEAR_VERSION", ""))
            return 1
        facts = _facts(run)
    words = _changed_user(facts) or _taken_port(id, run, facts)
    if words:
        sys.stderr.write(f"{words}\n")
        _write(f"{state}/failure", words)
        return 1
    secret: dict[str, str] = {}
    if "GEAR_SECRETS" in facts:
        secret, words = _secrets(facts, state)
        if words:
            sys.stderr.write(f"{words}\n")
            _write(f"{state}/failure", words)
            return 1
    environment = facts.get("GEAR_ENVIRONMENT", id)
    path = f"{BASE}/env/contents/{environment[:2]}/{environment}"
    plain, others = _laid_out(path, state, secret) if secret or os.path.exists(path) else ("", "")
    _write(f"{state}/env", plain)
    _write(f"{state}/environment", others or f'GEAR_ENV="--env-file={state}/env"\n')
    if "GEAR_IO" in facts:
        _bound_disk(facts["GEAR_IO"], f"{state}/environment")
    if "GEAR_QUOTA" in facts:
        _bound_layer(facts["GEAR_QUOTA"], facts.get("GEAR_ENGINE", "podman"), f"{state}/environment")
    if "GEAR_LEVEL" in facts and os.path.exists(SELINUX):
        _confine(id, facts["GEAR_LEVEL"], state)
    if os.path.exists(f"{BASE}/ports/links/{id[:2]}/{id}") or os.path.exists(f"{state}/links"):
        words = _links(id, state, facts.get("GEAR_ENGINE", "podman"))
        if words:
            sys.stderr.write(f"{words}\n")
            _write(f"{state}/failure", words)
            return 1
    _write(f"{state}/engine", facts.get("GEAR_ENGINE", "podman"))
    _write(f"{state}/version", facts.get("GEAR_VERSION", ""))
    if os.path.exists(f"{REMAPPED}/{name}"):
        os.waitpid(os.posix_spawn(REMAP, [REMAP, name], os.environ), 0)
    return 0


def _facts(run: str) -> dict[str, str]:
    """The NAME="VALUE" lines of a definition. What GEAR_RUN means is systemd's to read."""
    facts: dict[str, str] = {}
    with open(run, encoding="utf-8") as file:
        for line in file:
            name, _, value = line.partition("=")
            if name.startswith("GEAR_"):
                facts[name] = value.strip().strip('"')
            if name == "GEAR_RUN":
                break  # it stands last, and a line of one of its words may look like anything
    return facts


def _laid_out(path: str, state: str, secret: dict[str, str]) -> tuple[str, str]:
    """The environment as podman's --env-file, and as systemd's EnvironmentFile= for what needs another way.

    Variables of that name which are secrets take its place, in an --env-file of their own that goes when the gear
    stops.
    """
    _find_geard()
    from geard.environments.file import parse, render_for_systemd, split_for_podman

    own: dict[str, str] = {}
    if os.path.exists(path):
        with open(path, encoding="utf-8", newline="") as file:  # newline: a \r in a value stays one
            own = {name: value for name, value in parse(file.read()).items() if name not in secret}
    plain, others = split_for_podman(own)
    files = [f"{state}/env"]
    if secret:
        hidden, further = split_for_podman(secret)
        others |= further
        files.append(f"{state}/secrets/env")
        _write(files[-1], hidden)
        _write(f"{state}/overridden", "\n".join(secret))
    if not others and not secret:
        return plain, ""
    options = [*(f"--env-file={file}" for file in files), *(f"--env={name}" for name in others)]
    return plain, render_for_systemd(others, options)


def _changed_user(facts: dict[str, str]) -> str:
    """What stands against a start as the host's user that is shared: its ids may be somebody else's by now."""
    if "GEAR_HOST_USER" not in facts:
        return ""
    import pwd

    name, uid, gid, _ = facts["GEAR_HOST_USER"].split()
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        return f"this host has no user {name} any more, whom it is to share"
    if (found.pw_uid, found.pw_gid) == (int(uid), int(gid)):
        return ""
    now = f"{found.pw_uid}:{found.pw_gid}"
    return (
        f"the host's user {name} is {now} now, and was {uid}:{gid}; gear update NAME --host-user {name} takes it"
    )


def _taken_port(id: str, run: str, facts: dict[str, str]) -> str:
    """What stands against a start because another program has a port: podman does not hold the gear's
    (podman.conf), and its rules would lead away what comes to that program.
    """
    if facts["GEAR_ENGINE"] != "podman" or not _perhaps_taken(facts["GEAR_RUN"]):
        return ""
    _find_geard()
    from geard.ports.listening import taken

    return taken(id, run)


def _perhaps_taken(words: str) -> bool:
    """Whether anything listens on a number that is published, on whichever address (proc(5), /proc/net/tcp)."""
    for protocol, state in (("tcp", "0A"), ("udp", "07")):
        ends = [
            end.rsplit(":", 2) for word in words.split() if (end := word.strip('\\"')).endswith(f"/{protocol}")
        ]
        marks = [f":{int(end[-2]):04X} " for end in ends if len(end) > 1 and end[-2].isdecimal()]
        for family in ("", "6") if marks else ():
            with open(f"{SOCKETS}/{protocol}{family}", encoding="ascii") as file:
                held = [line for line in file if f":0000 {state} " in line]
            if any(mark in line for mark in marks for line in held):
                return True
    return False


def _secrets(facts: dict[str, str], state: str) -> tuple[dict[str, str], str]:
    """Lay out the gear's secrets; those that are variables, and what stands against it."""
    _find_geard()
    from geard.failures import Failure
    from geard.secrets.file import lay_out, reason

    first, shared = int(facts.get("GEAR_UID", "0")), {}
    if first and "GEAR_HOST_USER" in facts:
        _, uid, gid, inside = facts["GEAR_HOST_USER"].split()
        shared = {int(inside): (int(uid), int(gid))}
    try:
        variables = lay_out(facts["GEAR_SECRETS"], first, f"{BASE}/secrets", f"{state}/secrets", shared)
        if variables:
            from geard.environments.file import check_variables

            check_variables(variables)
        return variables, ""
    except Failure as failure:
        return {}, reason(failure)


def _links(id: str, state: str, engine: str) -> str:
    """Have the gear's links ready, and wait for far ends that are to be waited for; what stands against it.

    Their variables come before all others, so that those win; podman's runtime is told whose hook to call.
    """
    _find_geard()
    from geard.environments.file import parse
    from geard.links.live import Place
    from geard.links.starting import lay_out, wait

    place = Place(BASE, os.path.dirname(RUN), id)
    with open(f"{state}/environment", encoding="utf-8", newline="") as file:
        environment = file.read()
    taken = {*parse(environment), *_names(f"{state}/env"), *_names(f"{state}/secrets/env")}
    try:
        told = lay_out(place, engine, taken)
        if not told:
            return ""
        words = wait(place, engine, lambda: _notify("EXTEND_TIMEOUT_USEC=30000000"))
    except OSError as error:
        return f"its links cannot be made: {error}"
    _write(f"{state}/links-env", "".join(f"{name}={value}\n" for name, value in told.items()))
    options = f"--env-file={state}/links-env" + (
        f" --annotation=geard.links=ctr-{id}" if engine == "podman" else ""
    )
    _write(f"{state}/environment", environment.replace('GEAR_ENV="', f'GEAR_ENV="{options} ', 1))
    return words


def _names(env_file: str) -> list[str]:
    """The variables in an --env-file, whose values have one line each."""
    if not os.path.exists(env_file):
        return []
    with open(env_file, encoding="utf-8", newline="") as file:
        return [line.partition("=")[0] for line in file.read().split("\n") if line]


def _find_geard() -> None:
    sys.path.append(f"/opt/geard/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages")


def _forgive(name: str, state: str) -> None:
    """After a run that lasted, which gear-record notes, begin anew with the shortest pause: systemd lets pauses
    grow with every restart since the unit was last told to start, however long ago those were (RestartSteps=,
    systemd.service(5)).
    """
    if os.path.exists(f"{state}/forgive"):
        argv = ["/usr/bin/systemctl", "--no-block", "reset-failed", f"{name}.service"]
        os.waitpid(os.posix_spawn(argv[0], argv, os.environ), 0)
        _remove(f"{state}/forgive")


def _bound_disk(most: str, path: str) -> None:
    """The engine is told how many bytes a second from and to the disk that BASE is on, by a device of that disk.
    One of our own: not every /dev has the disks, and no name of one stays for ever.
    """
    import stat

    _find_geard()
    from geard.host.control_groups import disk_of

    disk = disk_of(BASE)
    if not disk:
        sys.stderr.write(f"{BASE} is on no disk whose use could be bounded\n")  # and status says: not in force
        return
    major, minor = map(int, disk.split(":"))
    device = f"{DEVICES}/geard-disk-{major}-{minor}"
    if not os.path.exists(device):
        os.mknod(device, stat.S_IFBLK | 0o600, os.makedev(major, minor))
    options = "".join(
        f"--device-{way}-bps={device}:{size} "
        for way, size in zip(("read", "write"), most.split(), strict=True)
        if size != "0"
    )
    _tell_engine(path, options)


def _bound_layer(size: str, engine: str, path: str) -> None:
    """What it writes outside of its volumes is in the engine's store: bounded by the engine, where that can."""
    _find_geard()
    from pathlib import Path

    from geard.host.disk_quotas import DiskQuotas

    store = Path(LAYERS[engine])
    if store.is_dir() and DiskQuotas().holds_layers(store):
        _tell_engine(path, f"--storage-opt=size={size} ")


def _confine(id: str, level: str, state: str) -> None:
    """SELinux: the engine is told the gear's level, and what geard mounts into it has that level too. The host's
    files that it was given are left as they are.
    """
    _find_geard()
    from geard.containers.selinux import file_context, label

    _tell_engine(f"{state}/environment", f"--security-opt=label=level:{level} ")
    context = file_context(level)
    for folder in (f"{BASE}/data/{id[:2]}/{id}", f"{state}/secrets"):
        for name in os.listdir(folder) if os.path.isdir(folder) else ():
            try:
                label(f"{folder}/{name}", context)
            except OSError as error:  # a file system without labels: it shows in what the program is refused
                sys.stderr.write(f"{folder}/{name} cannot be labelled {context}: {error.strerror}\n")


def _tell_engine(path: str, options: str) -> None:
    """Options come before what stands in the environment file for the engine, each with a blank behind it."""
    with open(path, encoding="utf-8", newline="") as file:
        environment = file.read()
    _write(path, environment.replace('GEAR_ENV="', f'GEAR_ENV="{options}', 1))


def _image_is_here(facts: dict[str, str]) -> bool:
    """A look at podman's store (0.1 ms) instead of asking podman (40 ms); trust where it is laid out otherwise."""
    image = facts.get("GEAR_IMAGE", "")
    if facts.get("GEAR_ENGINE") == "docker":
        return _docker_has(f"/images/{image}/json") and _docker_has("/networks/geard")
    return not os.path.isdir(IMAGES) or os.path.isdir(f"{IMAGES}/{image}")


def _docker_has(path: str) -> bool:
    """Whether Docker Engine knows what its API has at `path`; trust where it does not answer (1 ms)."""
    import socket

    try:
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(DOCKER)
            line.sendall(f"GET {path} HTTP/1.0\r\nHost: docker\r\n\r\n".encode())
            return line.recv(16).split()[1:2] != [b"404"]
    except OSError:
        return True


def _complete(id: str) -> tuple[int, str]:
    import subprocess

    argv = ["/usr/bin/gear", "complete", id]
    child = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    errors = ""
    while child.returncode is None:
        try:
            _, errors = child.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            _notify("EXTEND_TIMEOUT_USEC=90000000")
    sys.stderr.write(errors)
    told = [line.removeprefix("Error: ") for line in errors.splitlines() if line.startswith("Error: ")]
    return child.returncode, (told or errors.strip().splitlines() or ["its image could not be brought here"])[-1]


def _notify(text: str) -> None:
    """sd_notify(3)"""
    import socket

    where = os.environ.get("NOTIFY_SOCKET", "")
    if where:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(text.encode(), "\0" + where[1:] if where.startswith("@") else where)


def _write(path: str, text: str) -> None:
    """Whole, and only for root; /run is gone with the machine, so no fsync."""
    draft = path + ".tmp"
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(fd, "w", encoding="utf-8", newline="") as file:
        file.write(text)
    os.rename(draft, path)


def _remove_folder(path: str) -> None:
    if os.path.isdir(path):
        for name in os.listdir(path):
            os.unlink(f"{path}/{name}")
        os.rmdir(path)


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
