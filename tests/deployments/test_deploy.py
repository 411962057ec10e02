"""`gear plan`, `gear deploy`, `gear undeploy` over several hosts, as somebody at a terminal has them."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from tests.deployments.conftest import Machines
from tests.fakes.engine import make_image
from tests.fakes.host import tree

from geard.callbacks.outbox import Outbox
from geard.cli import asking
from geard.deployments import execution, terminal
from geard.deployments.descriptor import schema
from geard.deployments.execution import Run
from geard.deployments.requests import GetDeploymentSchema
from geard.identifiers import Place

SIMPLE: dict[str, Any] = {
    "Containers": [
        {
            "Name": "web",
            "Image": "geard/sample",
            "Count": 2,
            "PublicPorts": [{"Internal": 8080}],
            "Links": [{"To": "web"}],
        }
    ]
}


def write(count: int = 2, name: str = "app.json", **container: object) -> str:
    """A descriptor of so many, with what is changed in its one container."""
    web = {**SIMPLE["Containers"][0], "Count": count, **container}
    Path(name).write_text(json.dumps({"Containers": [web]}))
    return name


def state() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path("app.instances.json").read_text())
    return found


def test_two_on_two_hosts_linked_with_each_other(machines: Machines) -> None:
    out = machines.ok("deploy", write(), "h1", "h2")
    assert "+ web-1 on h1  geard/sample  8080 -> a free port seen as 127.0.0.1:8080" in out
    assert "app: 2 added in" in out
    assert machines.running("h1") == ["web-1"]
    assert machines.running("h2") == ["web-2"]
    # To itself each goes by its own address: what it sent by the host's port would not come back to it.
    own = json.loads(machines.ok("plan", "app.json", "-o", "json"))["Unchanged"]
    assert own == ["web-1", "web-2"]
    assert machines.links("h1", "web-1") == [
        f"8080\t8080\t{machines.address('h1', 'web-1')}\t127.0.0.1\ttcp\t0\tweb",
        "8081\t4000\th2\t127.0.0.1\ttcp\t0\tweb",
    ]
    assert [line.split("\t")[:3] for line in machines.links("h2", "web-2")] == [
        ["8080", "4000", "h1"],
        ["8081", "8080", machines.address("h2", "web-2")],
    ]
    assert [(i["Id"], i["On"], i["Ports"][0]["External"]) for i in state()["Instances"]] == [
        ("web-1", "h1", 4000),
        ("web-2", "h2", 4000),
    ]
    assert list(state())[:4] == ["Containers", "Instances", "IdPrefix", "RandomizeIds"]
    assert "Unfinished" not in state()
    assert Path("app.instances.json").stat().st_mode & 0o777 == 0o600


def test_deployed_again_nothing_changes_and_says_so(machines: Machines) -> None:
    machines.ok("deploy", write(Environment=[{"Name": "A", "Value": "b\nc"}], Volumes=["/data"]), "h1", "h2")
    before = [tree_of(machines, host) for host in machines.hosts]
    for words in (["app.json", "h1", "h2"], ["app.json"], ["app.instances.json", "h1", "h2"]):
        out = machines.ok("deploy", *words)
        assert "Nothing to change: app is as described, 2 gears on h1, h2" in out
        assert machines.writes == []
    assert [tree_of(machines, host) for host in machines.hosts] == before
    assert machines("plan", "app.json").code == 0


def tree_of(machines: Machines, host: str) -> dict[str, str]:
    return tree(machines.hosts[host].folder)


def test_a_plan_writes_nothing_and_says_by_its_status_whether_there_is_something_to_do(machines: Machines) -> None:
    before = [tree_of(machines, host) for host in machines.hosts]
    said = machines("plan", write(), "h1", "h2")
    assert said.code == 2
    assert "app: 2 to add. Plan " in said.out
    assert machines.writes == []
    assert [tree_of(machines, host) for host in machines.hosts] == before
    assert not Path("app.instances.json").exists()
    values = json.loads(machines("plan", "app.json", "h1", "h2", "-o", "json").out)
    assert [gear["Id"] for gear in values["Added"]] == ["web-1", "web-2"]
    assert values["Added"][0]["Links"][1] == {"From": "127.0.0.1:8081", "To": "nowhere yet"}
    assert machines("plan", "app.json", "h1", "-o", "name").out.split() == ["h1/web-1", "h1/web-2"]


def test_more_of_them_and_those_that_run_are_linked_while_they_run(machines: Machines) -> None:
    machines.ok("deploy", write(), "h1", "h2")
    pids = [machines.pid("h1", "web-1"), machines.pid("h2", "web-2")]
    said = machines("plan", write(3))
    assert said.code == 2
    assert "~ web-1 on h1  only its links, while it runs" in said.out
    assert "    link 127.0.0.1:8082: none -> h1, on a port it is given" in said.out
    out = machines.ok("deploy", "app.json")
    assert "1 added" in out
    assert "2 linked" in out
    assert machines.running("h1") == ["web-1", "web-3"]
    assert len(machines.links("h2", "web-2")) == 3
    assert [machines.pid("h1", "web-1"), machines.pid("h2", "web-2")] == pids


def test_fewer_of_them_nobody_is_linked_to_what_goes_when_it_goes(machines: Machines) -> None:
    machines.ok("deploy", write(3), "h1", "h2")
    assert "- web-3 on h1" in machines("plan", write(1)).out
    machines.ok("deploy", "app.json")
    writes = [each.partition("?")[0] for each in machines.writes]
    assert writes[:1] == ["h1 POST /containers/links"]
    assert sorted(writes[1:]) == ["h1 DELETE /container/web-3", "h2 DELETE /container/web-2"]
    assert (machines.running("h1"), machines.running("h2")) == (["web-1"], [])
    assert len(machines.links("h1", "web-1")) == 1


def test_a_change_goes_to_those_it_concerns_alone_and_its_lines_are_shown(machines: Machines) -> None:
    Path("app.json").write_text(
        json.dumps(
            {
                "Containers": [
                    *SIMPLE["Containers"],
                    {"Name": "db", "Image": "geard/sample", "Count": 1, "Labels": {"tier": "back"}},
                ]
            }
        )
    )
    machines.ok("deploy", "app.json", "h1", "h2")
    given = json.loads(Path("app.json").read_text())
    given["Containers"][1] |= {
        "Limits": {"Memory": "64m"},
        "Environment": [{"Name": "SECRET", "Value": "hidden"}],
        "Command": ["run", "a b"],
        "Labels": {},
    }
    Path("app.json").write_text(json.dumps(given))
    out = machines("plan", "app.json").out
    assert "~ db-1 on h1" in out
    for line in (
        "Limits.Memory: not said -> 64M",
        "Command: not said -> run 'a b'",
        "Labels.tier: back -> not said",
        "Environment.SECRET: is new",
    ):
        assert f"    {line}\n" in out
    assert "hidden" not in out
    assert "web-" not in out
    machines.ok("deploy", "app.json")
    assert {each.split()[2].partition("?")[0] for each in machines.writes} == {"/container/db-1"}
    assert "SECRET=hidden" in machines.ok("env", "h1/db-1")
    machines.ok("deploy", "app.json")
    assert machines.writes == []
    # The last variable taken away is gone from the gear too.
    given["Containers"][1].pop("Environment")
    Path("app.json").write_text(json.dumps(given))
    machines.ok("deploy", "app.json")
    assert machines.ok("env", "h1/db-1") == ""


def test_one_of_a_container_at_a_time_each_when_the_one_before_it_answers(machines: Machines) -> None:
    machines.ok("deploy", write(3), "h1")
    assert machines.awaited == []  # nobody was there to be led to them
    out = machines.ok("deploy", write(3, Command=["run", "otherwise"]))
    assert machines.writes[0].startswith("h1 PUT /container/web-1?")
    assert machines.awaited == [
        ([("h1", each["Ports"][0]["External"])], f"h1 PUT /container/{each['Id']}")
        for each in state()["Instances"]
    ]
    assert "answers 0.0 s" in out


def test_as_many_at_once_as_are_told(machines: Machines, monkeypatch: pytest.MonkeyPatch) -> None:
    machines.ok("deploy", write(3), "h1")
    all_of_them = threading.Barrier(3, timeout=30)  # nobody gets further alone

    def await_answers(places: list[tuple[str, int]]) -> bool:
        all_of_them.wait()
        return True

    monkeypatch.setattr(execution, "await_answers", await_answers)
    machines.ok("deploy", write(3, Command=["run", "otherwise"]), "--at-once", "3")
    assert machines("deploy", "app.json", "--at-once", "0").code == 64


def test_one_that_comes_is_awaited_before_anybody_is_led_to_it(machines: Machines) -> None:
    machines.ok("deploy", write(2), "h1", "h2")
    machines.ok("deploy", write(3))
    assert machines.awaited == [([("h1", 4001)], "h1 PUT /container/web-3/started")]
    assert machines.writes[-1].endswith("POST /containers/links?follow=true")
    # Without a link there is nobody who waits.
    machines.ok("deploy", write(2, Links=[]))
    machines.ok("deploy", write(3, Links=[]))
    assert machines.awaited == []


def test_what_was_stopped_by_hand_runs_again(machines: Machines) -> None:
    machines.ok("deploy", write(), "h1", "h2")
    machines.ok("stop", "h2/web-2")
    assert "    it is stopped -> it runs" in machines("plan", "app.json").out
    machines.ok("deploy", "app.json")
    assert machines.running("h2") == ["web-2"]


def test_what_was_deleted_by_hand_is_made_again_where_it_was(machines: Machines) -> None:
    machines.ok("deploy", write(), "h1", "h2")
    machines.ok("delete", "h2/web-2")
    assert "+ web-2 on h2" in machines("plan", "app.json").out
    machines.ok("deploy", "app.json")
    assert machines.running("h2") == ["web-2"]


def test_a_host_left_out_is_evacuated(machines: Machines) -> None:
    machines.ok("deploy", write(), "h1", "h2")
    out = machines.ok("deploy", "app.json", "h1", "h3")
    assert "> web-2 h2 -> h3" in out
    assert "- web-2 on h2" in out
    assert (machines.running("h1"), machines.running("h2"), machines.running("h3")) == (["web-1"], [], ["web-2"])
    assert machines.links("h1", "web-1")[1].split("\t")[:3] == ["8081", "4000", "h3"]
    assert {instance["On"] for instance in state()["Instances"]} == {"h1", "h3"}


def test_only_if_the_plan_is_still_the_one_that_was_shown(machines: Machines) -> None:
    shown = json.loads(machines("plan", write(), "h1", "-o", "json").out)["Plan"]
    machines.ok("install", "geard/sample", "h1/other")
    machines.ok("deploy", "app.json", "h1", "--if-match", shown)
    said = machines("deploy", write(3), "h1", "--if-match", shown)
    assert said.code == 6
    assert machines.writes == []


def test_a_gear_of_the_same_name_is_not_touched_unless_told(machines: Machines) -> None:
    machines.ok("install", "geard/sample", "h1/web-1", "--start")
    said = machines("deploy", write(1), "h1")
    assert said.code == 1
    assert "web-1 on h1 is there already, and is part of no deployment" in said.err
    assert machines.writes == []
    assert "taken over" in machines.ok("deploy", "app.json", "h1", "--adopt")
    assert "Nothing to change" in machines.ok("deploy", "app.json", "h1")


def test_a_lost_instances_file_is_made_again(machines: Machines) -> None:
    machines.ok("deploy", write(3), "h1", "h2")
    before = state()
    Path("app.instances.json").unlink()
    said = machines("deploy", "app.json", "h1", "h2")
    assert said.code == 1
    assert "there are gears of a deployment app already, web-1 on h1" in said.err
    assert "--adopt" in said.err
    assert "Nothing to change" in machines.ok("deploy", "app.json", "h1", "h2", "--adopt")
    assert state()["Instances"] == before["Instances"]
    assert machines.writes == []


def test_undeploy_leaves_nothing(machines: Machines) -> None:
    machines.ok("deploy", write(3), "h1", "h2")
    out = machines.ok("undeploy", "app.json")
    assert out.count("\n- web-") + out.startswith("- web-") == 3
    assert machines.running("h1") == machines.running("h2") == []
    assert not Path("app.instances.json").exists()
    assert "There is nothing of app on h1" in machines.ok("undeploy", "app.json", "h1")
    # … and the same again is not mistaken for what was asked the first time
    machines.ok("deploy", "app.json", "h1", "h2")
    assert machines.running("h2") == ["web-2"]


def test_an_image_that_is_not_there(machines: Machines) -> None:
    """What was done, what was not, how to go on; what ran before runs on."""
    machines.ok("deploy", write(), "h1", "h2")
    said = machines("deploy", write(3, Image="geard/none"))
    assert said.code != 0
    assert "web-3 on h1" in said.err
    assert "not done: web-1 on h1 is as it was" in said.out
    assert "the same command again goes on from here" in said.err
    assert machines.running("h2") == ["web-2"]
    for host in machines.hosts.values():
        host.engine.registry["docker.io/geard/none:latest"] = make_image("geard/none", ports=((8080, "tcp"),))
    machines.ok("deploy", "app.json")
    assert "Nothing to change" in machines.ok("deploy", "app.json")


def test_taken_back_when_something_fails(machines: Machines) -> None:
    machines.ok("deploy", write(Environment=[{"Name": "A", "Value": "old"}]), "h1", "h2")
    before = state()["Instances"]
    links = machines.links("h1", "web-1")
    machines.hosts["h1"].engine.registry["docker.io/geard/new:latest"] = make_image("geard/new")
    write(Image="geard/new", Environment=[{"Name": "A", "Value": "new"}])
    said = machines("deploy", "app.json", "--rollback-on-failure")
    assert said.code != 0
    assert "taken back: web-1 on h1 is as it was" in said.out
    assert "A=old" in machines.ok("env", "h1/web-1")
    assert machines.links("h1", "web-1") == links
    assert (machines.running("h1"), machines.running("h2")) == (["web-1"], ["web-2"])
    assert state()["Instances"] == before
    write(Environment=[{"Name": "A", "Value": "old"}])
    assert "Nothing to change" in machines.ok("deploy", "app.json")


def test_a_host_that_does_not_answer(machines: Machines) -> None:
    machines.ok("deploy", write(4), "h1", "h2")
    machines.down.add("h2")
    said = machines("deploy", write(5))
    assert said.code == 1
    assert "h2: no agent answers" in said.err
    assert "--on-unreachable skip" in said.err
    assert machines.writes == []
    out = machines.ok("deploy", "app.json", "--on-unreachable", "skip")
    assert "! h2 does not answer" in out
    assert machines.running("h1") == ["web-1", "web-3", "web-5"]
    # Left out, its gears come up elsewhere; back again, it is cleared.
    machines.ok("deploy", "app.json", "h1", "h3", "--on-unreachable", "skip")
    assert machines.running("h3") == ["web-2", "web-4"]
    machines.down.clear()
    assert machines.running("h2") == ["web-2", "web-4"]
    machines.ok("deploy", "app.json", "h1", "h3")
    assert machines.running("h2") == []
    assert "Nothing to change" in machines.ok("deploy", "app.json", "h1", "h3")


def test_a_move_that_fails_leaves_everybody_linked_to_the_one_that_runs(machines: Machines) -> None:
    machines.ok("deploy", write(), "h1", "h2")
    links = machines.links("h1", "web-1")
    machines.hosts["h3"].engine.registry.clear()
    said = machines("deploy", "app.json", "h1", "h3")
    assert said.code != 0
    assert "web-2 on h2 is still there" in said.out
    assert machines.running("h2") == ["web-2"]
    assert machines.links("h1", "web-1") == links
    machines.hosts["h3"].engine.registry.update(machines.hosts["h1"].engine.registry)
    machines.ok("deploy", "app.json", "h1", "h3")
    assert (machines.running("h2"), machines.running("h3")) == ([], ["web-2"])
    assert machines.links("h1", "web-1")[1].split("\t")[:3] == ["8081", "4000", "h3"]


def test_every_key_arrives_and_is_found_to_be_there(machines: Machines) -> None:
    folder = Path(__file__).parent / "fixtures"
    Path("app.env").write_text((folder / "app.env").read_text())
    text = (folder / "three_tiers.yaml").read_text().replace("geard/busybox-http-app", "geard/sample")
    text = text.replace("volumes: [/data]", f"volumes: [/data, '{folder}:/srv:ro']")
    secrets = "    stopTimeout: 7\n    secrets: [{name: key, variable: KEY}, {name: key}]\n"
    Path("shop.yaml").write_text(text + secrets)
    for host in machines.hosts:
        machines("secret", "create", "key", host, stdin="sesame")
    machines.ok("deploy", "shop.yaml", *machines.hosts)
    assert "Nothing to change" in machines.ok("deploy", "shop.yaml")
    assert machines.writes == []
    assert "MODE=production" in machines.ok("env", "h2/shop-app-1")
    assert "TEST=value" in machines.ok("env", "h2/shop-app-1")
    status = machines.ok("status", "h2/shop-app-1")
    assert "memory 128M, cpus 0.5, pids 200" in status
    assert "tier=app" in status


def test_a_host_port_goes_from_one_that_goes_to_one_that_comes(machines: Machines) -> None:
    machines.ok("deploy", write(1, PublicPorts=[{"Internal": 8080, "External": 4444}]), "h1")
    machines.ok("deploy", write(1, Name="other", Links=[], PublicPorts=[{"Internal": 1, "External": 4444}]))
    assert machines.running("h1") == ["other-1"]
    assert state()["Instances"][0]["Ports"][0]["External"] == 4444


def test_what_a_descriptor_cannot_hold_is_refused_with_its_place(machines: Machines) -> None:
    for text, message in (
        ('{"Containers": [{"Name": "web", "Imge": "x"}]}', "app.json: there is no $.Containers[0].Imge"),
        ('{"Containers": [{"Name": "web"}]}', "`$.Containers[0]`"),
        ('{"Containers": 3}', "$.Containers"),
        ("{", "app.json: it is not JSON"),
        ("containers: [", "it is neither JSON nor YAML"),
        ("containers: !!python/object:os.system {}", "it is neither JSON nor YAML"),
        ('{"Containers": [{"Name": "../x", "Image": "a/b"}]}', "cannot name a gear"),
        ('{"Containers": [{"Name": "web", "name": "b", "Image": "a/b"}]}', "is given twice"),
        ('{"Containers": [{"Name": "web", "Image": "a/b", "Count": -1}]}', "-1 instances of web"),
        ('{"Containers": [{"Name": "web", "Image": "a/b", "Count": 1, "EnvFiles": ["no"]}]}', "cannot read no"),
        ('{"Containers": [{"Name": "web", "Image": "a/b", "Count": 1, "Affinity": "alone"}]}', "is no affinity"),
    ):
        Path("app.json").write_text(text)
        said = machines("plan", "app.json", "h1")
        assert (said.code, machines.sent) == (64, []), (text, said)
        assert message in said.err, (text, said.err)
    Path("app.json").write_text('{"Containers": [{"Name": "web", "Imge": "x"}]}')
    assert "did you mean Image?" in machines("plan", "app.json").err


def test_yaml_from_standard_input(machines: Machines) -> None:
    text = "name: stdin-app\ncontainers:\n- {name: web, image: geard/sample, count: 1}\n"
    said = machines("deploy", "-", "h1", stdin=text)
    assert said.code == 0, said
    assert machines.running("h1") == ["web-1"]
    assert Path("deployment.instances.json").exists()


def test_the_schema_is_printed(machines: Machines) -> None:
    found = json.loads(machines.ok("deploy", "--schema"))
    assert found["$defs"]["Container"]["properties"]["Image"] == {"type": "string"}
    assert found["$defs"]["Container"]["additionalProperties"] is False


def test_an_agent_serves_the_schema(machines: Machines) -> None:
    found = asking.session.transport(Place("h1")).send(GetDeploymentSchema())
    assert found.schema == schema()


@pytest.mark.parametrize("words", [["deploy", "app.json"], ["undeploy", "app.json"]])
def test_on_a_terminal_it_asks(machines: Machines, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    machines.ok("deploy", write(1), "h1")
    write(2)
    monkeypatch.setattr(terminal, "sys", SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True)))
    said = machines(*words, stdin="n\n")
    assert said.code == 130
    assert "Do it?" in said.out + said.err
    assert machines.writes == []


def test_verbs_with_a_file_are_about_all_its_gears(machines: Machines) -> None:
    machines.ok("deploy", write(3), "h1", "h2")
    out = machines.ok("status", "--with", "app.json", "-o", "name")
    assert out.split() == ["h1/web-1", "h2/web-2", "h1/web-3"]
    machines.ok("stop", "--with=app.instances.json")
    assert machines.running("h1") == machines.running("h2") == []
    machines.ok("start", "--with", "app.json")
    machines.ok("restart", "--with", "app.json")
    assert machines.running("h1") == ["web-1", "web-3"]
    assert machines("log", "--with", "app.json", "-n", "1").code == 0
    machines.ok("delete", "--with", "app.json", "h3/not-there")
    assert machines.running("h1") == []
    machines.ok("deploy", "app.json")
    assert machines.running("h1") == ["web-1", "web-3"]


def test_a_file_whose_gears_are_nowhere(machines: Machines) -> None:
    said = machines("stop", "--with", write())
    assert said.code == 64
    assert "app.json names no gears that are anywhere" in said.err
    assert machines("stop", "--with").code == 64
    assert "cannot read none.json" in machines("start", "--with", "none.json").err


def test_programs_are_told_what_came_of_it(machines: Machines) -> None:
    found = json.loads(machines.ok("deploy", write(), "h1", "h2", "-o", "json"))
    assert [(each["Id"], each["What"]) for each in found["Did"]] == [("web-1", "added"), ("web-2", "added")]
    assert (found["Failed"], found["NotDone"], found["Changed"]) == ([], [], True)
    assert json.loads(machines.ok("deploy", "app.json", "-o", "json"))["Changed"] is False
    assert machines.ok("undeploy", "app.json", "-o", "name").split() == ["h1/web-1", "h2/web-2"]


def test_a_client_that_was_killed_is_followed_by_one_that_ends_the_same_place(
    machines: Machines,
) -> None:
    """Killed before each of its requests in turn."""

    class Killed(BaseException):
        pass

    def killed_at(count: int, *words: str) -> bool:
        """Whether it came to that."""
        left = iter(range(count))

        def request_id(self: Run, *rest: Any) -> str:
            if next(left, None) is None:
                raise Killed
            return made(self, *rest)

        made = Run._request_id  # pyright: ignore[reportPrivateUsage]
        with mock.patch.object(Run, "_request_id", request_id):
            try:
                assert machines(*words).code == 0
            except Killed:
                return True
        return False

    def whole() -> None:
        machines.ok("deploy", "app.json", "h1", "h2")
        assert (machines.running("h1"), machines.running("h2")) == (["web-1", "web-3"], ["web-2"])
        assert all(len(machines.links(host, id)) == 3 for host, id in (("h1", "web-1"), ("h2", "web-2")))
        assert "Nothing to change" in machines.ok("deploy", "app.json")

    count, came = 0, True
    while came:
        write(3)
        came = killed_at(count, "deploy", "app.json", "h1", "h2")
        whole()
        write(3, Environment=[{"Name": "ROUND", "Value": str(count)}])
        killed_at(count % 4, "deploy", "app.json")
        whole()
        assert f"ROUND={count}" in machines.ok("env", "h2/web-2")
        killed_at(count % 3, "undeploy", "app.json")
        machines.ok("undeploy", "app.json")
        assert machines.running("h1") == machines.running("h2") == []
        count += 1
    assert count > 8


def test_each_change_of_a_run_tells_of_its_end(machines: Machines) -> None:
    said = machines("--callback", "https://a.example", "deploy", write(1), "h1")
    assert said.code == 0, said
    assert "PUT /container/web-1" in [entry.what for entry in Outbox(machines.hosts["h1"].paths).entries()]
