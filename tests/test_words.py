"""Words, written and read: the case of keys is free, all else is strict and says where it went wrong."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geard import catalog
from geard.containers.requests import InstallContainer, ListContainers, StopContainer, VolumeMount
from geard.environments.requests import Environment, EnvironmentPart, Variable
from geard.failures import Invalid
from geard.ports.requests import PortPair, PublishedPorts
from geard.transport.wire import parse, write
from geard.words import builtins_of, decode, encode, part_of, read

catalog.doors("requests")  # parts are known once their rooms' words are loaded

WISH: dict[str, object] = {"Id": "web", "Image": "nginx"}
NOTHING: dict[str, object] = {}


def installed(**body: object) -> InstallContainer:
    return read(InstallContainer, {**WISH, **body})


def refused(body: object) -> Invalid:
    with pytest.raises(Invalid) as caught:
        read(InstallContainer, body)
    return caught.value


def test_keys_are_pascal_case_and_read_in_any() -> None:
    wish = read(InstallContainer, {"ID": "web", "image": "nginx", "sTaRtEd": True, "systemdslice": "container"})
    assert (wish.id, wish.started, wish.systemd_slice) == ("web", True, "container")
    assert builtins_of(wish)["SystemdSlice"] == "container"


def test_keys_inside_are_read_in_any_case_too() -> None:
    wish = installed(volumeconfig={"VOLUMEMOUNTS": [{"path": "/a", "hostpath": "/b", "readonly": True}]})
    assert wish.volume_config.volume_mounts == (VolumeMount(path="/a", host_path="/b", read_only=True),)


def test_a_key_in_two_spellings_is_refused() -> None:
    assert refused({**WISH, "image": "busybox"}).message == "$.Image is given twice"
    assert refused({**WISH, "Ports": [], "ports": []}).message == "$.Ports is given twice"


def test_how_parts_are_carried_is_no_key() -> None:
    nothing: tuple[object, ...] = ([], [NOTHING], None)
    for value in nothing:
        assert refused({**WISH, "Parts": value}).message == "there is no $.Parts"


def test_an_object_where_a_row_belongs_is_told_as_that() -> None:
    assert refused({**WISH, "Ports": {"8080": 4000}}).message.startswith("Expected `array`, got `object`")


def test_labels_keep_their_names_as_they_are() -> None:
    assert installed(Labels={"Tier": "web", "tier": "x"}).labels == {"Tier": "web", "tier": "x"}


def test_an_unknown_key_is_refused_with_its_place_and_the_nearest_known() -> None:
    assert refused({**WISH, "Startd": True}).message == "there is no $.Startd"
    assert refused({**WISH, "Startd": True}).hint == "did you mean Started?"
    assert "known: " in refused({**WISH, "Zzz": True}).hint
    inside = refused({**WISH, "VolumeConfig": {"Volumes": [{"Path": "/a"}, {"Paht": "/b"}]}})
    assert inside.message == "there is no $.VolumeConfig.Volumes[1].Paht"
    assert inside.hint == "did you mean Path?"


def test_a_parts_unknown_key_is_named_by_its_place_too() -> None:
    failure = refused({**WISH, "Ports": [{"Internal": 1}, {"Internl": 2}]})
    assert failure.message == "there is no $.Ports[1].Internl"


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"Id": "web", "Image": 5}, "$.Image"),
        ({**WISH, "Started": "yes"}, "$.Started"),
        ({**WISH, "Command": "one two"}, "$.Command"),
        ({**WISH, "Command": ["a", 1]}, "$.Command"),
        ({**WISH, "Limits": []}, "$.Limits"),
        ({**WISH, "Limits": {"Memory": "1g"}}, "$.Limits.Memory"),
        ({**WISH, "Restart": "sometimes"}, "$.Restart"),
        ({**WISH, "Ports": [{"Internal": "80"}]}, "$.Ports[0].Internal"),
        ({**WISH, "Ports": [NOTHING]}, "$.Ports[0]"),
        ({**WISH, "Ports": {"Internal": 80}}, "$.Ports"),
        ({**WISH, "Ports": 5}, "$.Ports"),
        ({**WISH, "Environment": {"Variables": [{"Name": None}]}}, "$.Environment.Variables[0].Name"),
        ({"Id": "web"}, "Image"),
        ({**WISH, "Image": None}, "$.Image"),
    ],
)
def test_a_wrong_shape_is_refused_with_its_place(body: object, place: str) -> None:
    assert place in refused(body).message


@pytest.mark.parametrize("value", [[], [1], "text", 5, None, True])
def test_what_is_no_object_is_refused(value: object) -> None:
    refused(value)


@pytest.mark.parametrize("text", ["{", "[}", "nul", '{"Id":1e}', b"\xff", b'{"Id": "\xff"}', "{} {}"])
def test_what_is_no_json_is_refused(text: str | bytes) -> None:
    with pytest.raises(Invalid):
        decode(InstallContainer, text)


def test_parts_stand_beside_the_other_keys() -> None:
    ports = PublishedPorts(value=(PortPair(internal=80, external=4000),))
    variables = EnvironmentPart(value=Environment(variables=(Variable(name="A", value="b"),)))
    wish = InstallContainer(id="web", image="nginx", parts=(ports, variables))
    written = json.loads(encode(wish))
    assert "Parts" not in written
    assert written["Ports"] == [
        {"Internal": 80, "External": 4000, "Protocol": "tcp", "Address": "", "Exposed": False}
    ]
    assert decode(InstallContainer, encode(wish)) == wish


def test_a_null_part_is_one_that_was_not_given() -> None:
    assert installed(Ports=None, environment=None).parts == ()
    assert part_of(PublishedPorts, installed(ports=[]).parts) == PublishedPorts(value=())


def test_parts_cannot_be_given_by_the_name_of_the_field() -> None:
    with pytest.raises(Invalid):
        installed(Parts=[{"Value": 1}])


texts = st.text(st.characters(codec="utf-8"), max_size=20)


@given(texts, st.lists(texts, max_size=3), st.dictionaries(texts, texts, max_size=3), st.booleans())
def test_a_request_comes_back(image: str, command: list[str], labels: dict[str, str], started: bool) -> None:
    wish = InstallContainer(id="web", image=image, command=tuple(command), labels=labels, started=started)
    assert decode(InstallContainer, encode(wish)) == wish


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), st.lists, max_leaves=4))
def test_whatever_comes_is_read_or_refused(value: object) -> None:
    for key in ("Image", "Command", "Ports", "Environment", "Limits", "Labels", "VolumeConfig", "Parts"):
        try:
            read(InstallContainer, {**WISH, key: value})
        except Invalid:
            continue


def test_geards_published_body_is_an_install() -> None:
    body = b'{"Image": "openshift/busybox-http-app", "Started":true, "Ports":[{"Internal":8080}]}'
    wish = parse(InstallContainer, {"id": "my-sample-service"}, {}, body)
    assert (wish.id, wish.image, wish.started) == ("my-sample-service", "openshift/busybox-http-app", True)
    assert part_of(PublishedPorts, wish.parts) == PublishedPorts(value=(PortPair(internal=8080),))


def test_the_path_wins_over_the_body() -> None:
    for key in ("Id", "id", "ID"):
        body = json.dumps({key: "other", "Image": "nginx"}).encode()
        assert parse(InstallContainer, {"id": "web"}, {}, body).id == "web"


@pytest.mark.parametrize("body", [b"[]", b"5", b'"x"', b"null", b"{", b"\xff"])
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(Invalid):
        parse(InstallContainer, {"id": "web"}, {}, body)


@pytest.mark.parametrize(("text", "all_"), [("1", True), ("true", True), ("0", False), ("false", False)])
def test_numbers_and_truth_come_as_text_in_a_query(text: str, all_: bool) -> None:
    assert parse(ListContainers, {}, {"all": text}, b"") == ListContainers(all=all_)


def test_a_wrong_query_is_refused() -> None:
    for query in ({"all": "perhaps"}, {"al": "1"}):
        with pytest.raises(Invalid):
            parse(ListContainers, {}, query, b"")


def test_a_request_is_written_as_its_route_says() -> None:
    call = write(InstallContainer(id="a b/c", image="nginx"))
    assert (call.method, call.target) == ("PUT", "/container/a%20b%2Fc")
    assert "Id" not in json.loads(call.body or b"")
    assert write(ListContainers(all=True)).target.partition("?")[::2] in {
        ("/containers", "all=1"),
        ("/containers", "All=1"),
    }
    assert write(StopContainer(id="web", timeout=1.5)).body is not None
