"""What is written for a gear: golden files, and that no two volumes share a folder.

`pytest tests/containers/test_units.py --update-golden` writes them anew; look at the difference before it goes in.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.systemd_parsers import environment_file, split_variable

from geard import catalog
from geard.containers.definition import Definition, HostUser
from geard.containers.folders import Folders
from geard.containers.requests import Limits, Volume, VolumeConfig, VolumeMount
from geard.containers.units import parse_run, render_run, render_unit
from geard.containers.volumes import volume_folder
from geard.containers.wishes import check_path
from geard.environments.requests import Environment, EnvironmentPart
from geard.failures import Invalid
from geard.host.engine import Engine
from geard.host.engine.docker import Docker
from geard.host.engine.podman import Podman
from geard.host.paths import Paths
from geard.idling.requests import IdlePart, IdlePolicy
from geard.ports.requests import PortPair, PublishedPorts
from geard.secrets.requests import SecretsPart, SecretUse
from geard.words import decode

GOLDEN = Path(__file__).with_name("golden")

PLAIN = Definition(
    id="web",
    version="AAAAAAAAAAAAAAAAAAAAAA",
    written="2026-11-23T20:00:00.000000+00:00",
    by="root on this machine",
    image="nginx",
    image_id="0" * 64,
    digest="sha256:" + "1" * 64,
    slot=1,
    level="s0:c0,c2",
    ipv4="10.183.0.11",
    ipv6="fd67:6561:7264:1::b",
    mac="02:67:65:00:00:0b",
    uid=2_065_536,
    limits=Limits(memory=536_870_912, cpus=0, pids=1_024),
    origins={"memory": "default of slice container-small", "pids": "default"},
)

DEFINITIONS = {
    "plain": PLAIN,
    "image-not-here": Definition(
        id="web", version="AAAAAAAAAAAAAAAAAAAAAA", written="2026-11-23T20:00:00.000000+00:00", image="nginx",
        slot=1, ipv4="10.183.0.11", mac="02:67:65:00:00:0b", uid=2_065_536, limits=PLAIN.limits,
    ),
    "everything": Definition(
        id="my-sample-service.1",
        version="BBBBBBBBBBBBBBBBBBBBBB",
        written="2026-11-23T20:00:00.000000+00:00",
        by="root on this machine",
        image="registry.example.com:5000/team/app:1.2@sha256:" + "2" * 64,
        image_id="3" * 64,
        digest="sha256:" + "2" * 64,
        slot=27_999,
        ipv4="10.183.109.105",
        ipv6="fd67:6561:7264:1::6d69",
        mac="02:67:65:00:6d:69",
        uid=1_836_942_464,
        command=("serve", "--name", "it's \"quoted\"", "$HOME `x` %N \\", "", "two\nlines", "ünï→😀"),
        entrypoint=("/bin/my app",),
        volume_config=VolumeConfig(
            volumes=(Volume(path="/var/lib/my-data"),),
            volume_mounts=(
                VolumeMount(path="/srv/a,b", host_path="/data/\"quoted\"", read_only=True),
                VolumeMount(path="/srv/plain", host_path="/plain"),
            ),
        ),
        image_volumes=("/var/cache", "/plain"),
        slice="container-large",
        restart="on-failure",
        limits=Limits(memory=1_073_741_824, memory_swap=2_000_000_000, cpus=1.5, pids=512, io_read=1 << 20),
        labels={"tier": "front end", "a.b/c": "x=y"},
        stop_timeout=120,
        parts=(
            PublishedPorts(value=(
                PortPair(internal=8080, external=4000), PortPair(internal=53, external=4001, protocol="udp"),
            )),
            EnvironmentPart(value=Environment(id="shared")),
            SecretsPart(value=(
                SecretUse(name="db"), SecretUse(name="tls-key", path="/etc/a,b/key", mode="0400", uid=1001),
                SecretUse(name="db", variable="DB_PASSWORD"),
            )),
        ),
    ),
    "simple": Definition(
        id="simple", version="CCCCCCCCCCCCCCCCCCCCCC", written="2026-11-23T20:00:00.000000+00:00", image="nginx",
        image_id="4" * 64, simple=True, slot=2, ipv4="10.183.0.12", mac="02:67:65:00:00:0c",
        limits=Limits(memory=0, pids=0), restart="no",
    ),
}  # fmt: skip
DEFINITIONS["shared-user"] = msgspec.structs.replace(
    PLAIN, host_user=HostUser(name="alice", uid=1000, gid=1001, inside=33)
)
DEFINITIONS["docker-shared-user"] = msgspec.structs.replace(
    PLAIN, engine="docker", uid=None, host_user=HostUser(name="alice", uid=1000, gid=1001)
)
DEFINITIONS["docker"] = msgspec.structs.replace(
    DEFINITIONS["everything"], engine="docker", uid=None, ipv4="10.184.109.105", ipv6="fd67:6561:7264:2::6d69",
    entrypoint=("/bin/my app", "first"),
)  # fmt: skip
ENGINES: dict[str, Engine] = {"podman": Podman(), "docker": Docker()}


def render(definition: Definition, what: str) -> str:
    folders, facets = Folders.of(Paths(), definition.id), catalog.load()
    return (render_unit if what == "service" else render_run)(
        definition, folders, facets, ENGINES[definition.engine]
    )


@pytest.mark.parametrize("what", ["service", "run"])
@pytest.mark.parametrize("name", DEFINITIONS)
def test_a_definition_as_text(name: str, what: str, request: pytest.FixtureRequest) -> None:
    text, golden = render(DEFINITIONS[name], what), GOLDEN / f"{name}.{what}"
    if request.config.getoption("--update-golden"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text, encoding="utf-8", newline="")
    assert text == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", DEFINITIONS)
def test_the_facts_come_back(name: str) -> None:
    catalog.doors("requests")
    facts = parse_run(render(DEFINITIONS[name], "run"))
    assert facts is not None
    assert decode(Definition, facts) == DEFINITIONS[name]


def test_docker_cannot_be_told_when_a_program_is_ready() -> None:
    ready = msgspec.structs.replace(PLAIN, parts=(IdlePart(value=IdlePolicy(wake_when="ready")),))
    assert "--sdnotify=container" in render(ready, "run")
    with pytest.raises(Invalid, match="on Docker Engine no gear can say that it is ready"):
        render(msgspec.structs.replace(ready, engine="docker", uid=None), "run")


def test_the_words_reach_podman_as_they_were_asked_for() -> None:
    definition = DEFINITIONS["everything"]
    words = split_variable(environment_file(render(definition, "run"))["GEAR_RUN"])
    assert words[words.index(definition.image_id) + 1 :] == list(definition.command)
    assert words[words.index("--entrypoint") + 1] == '["/bin/my app"]'
    assert "a.b/c=x=y" in words
    assert "tier=front end" in words
    assert words[:2] == ["--name", "ctr-my-sample-service.1"]


def test_the_words_reach_docker_as_they_were_asked_for() -> None:
    definition = DEFINITIONS["docker"]
    words = split_variable(environment_file(render(definition, "run"))["GEAR_RUN"])
    assert words[words.index("--entrypoint") + 1] == "/bin/my app"
    assert words[words.index(definition.image_id) + 1 :] == ["first", *definition.command], (
        "one word is all it takes"
    )
    assert not any("map" in word for word in words), "it knows no users of a container's own"


def test_dockerd_that_goes_away_takes_no_gear_along_for_good() -> None:
    unit = render(DEFINITIONS["docker"], "service")
    assert "Wants=docker.service" in unit
    assert "Requires=" not in unit and "BindsTo=" not in unit


def test_all_versions_of_a_gear_have_one_service_section() -> None:
    def service(definition: Definition) -> str:
        return render(definition, "service").partition("[Service]")[2].partition("[Install]")[0]

    changed = DEFINITIONS["everything"]
    same_unit = Definition(
        id="web", version="D" * 22, written="later", image="other", image_id="5" * 64, command=("x",),
        labels=changed.labels, volume_config=changed.volume_config, limits=changed.limits, uid=changed.uid,
    )  # fmt: skip
    assert service(same_unit) == service(PLAIN)


@pytest.mark.parametrize(
    "hostile", ["a\nExecStart=/bin/evil", "a\\", "a\\\\", "a\rb", "a\0b", "\u2028ExecStart=x", "é\nb"]
)
def test_no_metadata_makes_another_line(hostile: str) -> None:
    definition = Definition(id="web", version="A" * 22, written="", image=hostile)
    lines = render(definition, "service").split("\n")
    assert len(lines) == len(render(PLAIN, "service").split("\n"))
    assert all(line.isascii() and not line.endswith("\\") for line in lines)


def valid_path(text: str) -> bool:
    try:
        check_path(text, "")
    except Invalid:
        return False
    return text != "/"


paths = (
    st.lists(st.text("ab-/.", min_size=1, max_size=6), min_size=1, max_size=4).map("/".join).map(lambda p: f"/{p}")
)


@given(paths.filter(valid_path), paths.filter(valid_path))
@example("/a/-b", "/a-/b")
def test_two_paths_never_share_a_volume_folder(one: str, other: str) -> None:
    assert (volume_folder(one) == volume_folder(other)) == (one == other)


@given(st.one_of(paths, st.text(max_size=30).map(lambda t: f"/{t}")).filter(valid_path))
def test_a_volume_folder_is_one_name_of_a_folder(path: str) -> None:
    name = volume_folder(path)
    assert "/" not in name
    assert name not in ("", ".", "..")
    assert len(f".{name}.new".encode()) <= 255 or len(path.encode()) > 200


def test_a_volume_is_never_taken_for_the_draft_of_another() -> None:
    """make_volumes clears `.NAME.new` before it fills it."""
    for path in ("/.data.new", "/.a.b.new"):
        assert volume_folder(path) != f".{volume_folder('/' + path[2:-4])}.new"
