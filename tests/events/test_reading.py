"""Events out of entries as systemd 252 and 257 were seen to write them, and out of forged ones."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import pytest

from geard.events import entries
from geard.events.reading import ASKED_LASTS, UNITS, Reading
from geard.events.requests import Event
from geard.host.journal_reader import Entry

UNIT = "ctr-web.service"
numbers = itertools.count(1)


def systemd(id: str, unit: str = UNIT, **fields: str) -> Entry:
    return entry(MESSAGE_ID=id, UNIT=unit, **fields)


def ours(event: str, gear: str = "web", **fields: str) -> Entry:
    return entry(MESSAGE_ID=entries.OURS, GEARD_EVENT=event, GEARD_GEAR=gear, **fields)


def asked(job: str) -> Entry:
    return ours("asked", GEARD_JOB=job, GEARD_REQUEST_ID=f"R-{job}", GEARD_ASKER="root")


def entry(**fields: str) -> Entry:
    number = next(numbers)
    return Entry(number * 1_000, f"c{number}", "", fields={"_HOSTNAME": "h1", **fields})


def told(entries: Iterable[Entry]) -> list[Event]:
    reading = Reading()
    return [event for entry in entries if (event := reading.read(entry)) is not None]


def kinds(entries: Iterable[Entry]) -> list[str]:
    return [event.kind for event in told(entries)]


def start() -> list[Entry]:
    return [systemd(entries.STARTING), systemd(entries.STARTED, JOB_TYPE="start", JOB_RESULT="done")]


def stop(job: str = "stop") -> list[Entry]:
    return [
        systemd(entries.STOPPING),
        ours("ended", GEARD_EXIT_CODE="exited", GEARD_EXIT_STATUS="143", GEARD_OOM="no"),
        systemd(entries.ENDED_WELL),
        systemd(entries.STOPPED, JOB_TYPE=job, JOB_RESULT="done"),
    ]


def test_a_start_and_a_stop_name_the_requests_behind_them() -> None:
    events = told([asked("start"), *start(), asked("stop"), *stop(), *start()])
    assert [(event.kind, event.id, event.request, event.by) for event in events] == [
        ("starting", "web", "R-start", "root"),
        ("started", "web", "R-start", "root"),
        ("stopping", "web", "R-stop", "root"),
        ("stopped", "web", "R-stop", "root"),
        ("starting", "web", "", ""),  # by hand, with systemctl
        ("started", "web", "", ""),
    ]
    assert events[3].signal == "TERM"
    assert events[0].host == "h1"
    assert len({event.cursor for event in events}) == len(events)


def test_a_restart_is_a_stop_and_a_start_of_one_request() -> None:
    events = told([*start(), asked("restart"), *stop("restart"), *start()])
    assert [event.kind for event in events[2:]] == ["stopping", "stopped", "starting", "started"]
    assert {event.request for event in events[2:]} == {"R-restart"}


def test_a_request_is_not_the_cause_of_another_job_or_of_one_long_after() -> None:
    assert [event.request for event in told([asked("stop"), *start()])] == ["", ""]
    late = [asked("start"), *(Entry(e.time + ASKED_LASTS, e.cursor, "", fields=e.fields) for e in start())]
    assert [event.request for event in told(late)] == ["", ""]


def test_a_program_that_fails_says_with_what_and_is_started_again() -> None:
    failing = [
        *start(),
        systemd(entries.PROCESS_ENDED, COMMAND="ExecStart", EXIT_CODE="exited", EXIT_STATUS="3"),
        ours("ended", GEARD_EXIT_CODE="exited", GEARD_EXIT_STATUS="3", GEARD_OOM="no"),
        systemd(entries.FAILED, UNIT_RESULT="exit-code"),
        systemd(entries.RESTARTING, N_RESTARTS="2"),
    ]
    events = told([*failing, *start()])
    assert [event.kind for event in events[2:]] == ["failed", "restarting", "starting", "started"]
    assert events[2].exit_status == 3
    assert events[2].reason == events[2].message == "its program ended with status 3"
    assert events[3].restarts == 2
    # systemd 252 says "Stopped" in between: that it is down has been told
    assert kinds([*failing, systemd(entries.STOPPED, JOB_TYPE="restart"), *start()]) == [e.kind for e in events]


def test_without_its_stop_hook_a_failure_is_told_as_systemd_knows_it() -> None:
    events = told(
        [
            systemd(entries.PROCESS_ENDED, COMMAND="ExecStart", EXIT_CODE="killed", EXIT_STATUS="9"),
            systemd(entries.FAILED, UNIT_RESULT="signal"),
        ]
    )
    assert [(event.kind, event.signal, event.reason) for event in events] == [
        ("failed", "KILL", "its program was ended by signal KILL")
    ]


def test_a_kill_for_memory_is_a_failure_though_systemd_takes_it_for_a_good_end() -> None:
    (event,) = told(
        [
            ours("ended", GEARD_EXIT_CODE="exited", GEARD_EXIT_STATUS="137", GEARD_OOM="yes"),
            systemd(entries.ENDED_WELL),
        ]
    )
    assert (event.kind, event.oom, event.exit_status, event.signal) == ("failed", True, 137, "KILL")
    assert "memory" in event.reason


def test_a_job_that_ends_by_itself_has_stopped() -> None:
    (event,) = told(
        [
            ours("ended", GEARD_EXIT_CODE="exited", GEARD_EXIT_STATUS="0", GEARD_OOM="no"),
            systemd(entries.ENDED_WELL),
        ]
    )
    assert (event.kind, event.exit_status, event.reason) == ("stopped", 0, "its program ended with status 0")


def test_a_stop_that_takes_too_long_has_failed_once() -> None:
    late = [
        *start(),
        systemd(entries.STOPPING),
        systemd(entries.FAILED, UNIT_RESULT="timeout"),
        systemd(entries.STOPPED),
    ]
    events = told(late)
    assert [event.kind for event in events] == ["starting", "started", "stopping", "failed"]
    assert "in time" in events[-1].reason


@pytest.mark.parametrize(
    ("result", "before", "expected"),
    [
        ("failed", [systemd(entries.FAILED, UNIT_RESULT="exit-code")], 1),
        ("assert", [], 1),
        ("assert", [systemd(entries.FAILED, UNIT_RESULT="exit-code")], 2),
        ("dependency", [], 1),
        ("canceled", [], 0),
    ],
)
def test_a_start_that_comes_to_nothing_has_failed_once(result: str, before: list[Entry], expected: int) -> None:
    events = told([*before, systemd(entries.NOT_STARTED, JOB_RESULT=result, JOB_TYPE="start")])
    assert [event.kind for event in events] == ["failed"] * expected
    assert result != "assert" or "rules" in events[-1].reason


def test_what_geard_writes_is_told_as_it_is() -> None:
    (event,) = told(
        [ours("installed", GEARD_TEXT="nginx", GEARD_IMAGE="nginx", GEARD_VERSION="V", GEARD_ASKER="x")]
    )
    assert (event.kind, event.id, event.message, event.image, event.version, event.by) == (
        "installed", "web", "nginx", "nginx", "V", "x",
    )  # fmt: skip
    (event,) = told([ours("healthy")])
    assert event.kind == "healthy"  # kinds to come need no change here


def test_pulls_are_told_with_their_image_and_a_killed_one_too() -> None:
    pull = f"geard-pull@{'0a' * 16}.service"
    events = told(
        [
            ours("pulling", "", GEARD_IMAGE="docker.io/library/nginx:latest", GEARD_REQUEST_ID="R"),
            ours("pull-failed", "", GEARD_IMAGE="docker.io/library/nginx:latest", GEARD_REASON="no such host"),
            systemd(entries.STARTING, pull),
            systemd(entries.FAILED, pull, UNIT_RESULT="exit-code"),
            systemd(entries.FAILED, pull, UNIT_RESULT="signal"),
        ]
    )
    assert [event.kind for event in events] == ["pulling", "pull-failed", "pull-failed"]
    assert (events[0].request, events[1].message) == ("R", "no such host")


def checked(health: str, streak: str = "", name: str = "ctr-web", **fields: str) -> Entry:
    found = {"PODMAN_EVENT": "health_status", "PODMAN_NAME": name, "PODMAN_HEALTH_STATUS": health}
    return entry(**found, **({"PODMAN_HEALTH_FAILING_STREAK": streak} if streak else {}), **fields)


def test_health_is_told_when_it_changes_and_after_each_start() -> None:
    events = told(
        [
            *start(), checked("starting", "1"), checked("healthy", "0"), checked("healthy", "0"),
            checked("healthy", "1"), checked("unhealthy", "3"), checked("unhealthy", "4"), checked("healthy"),
            *stop(), *start(), checked("healthy"),
        ]
    )  # fmt: skip
    found = [(event.kind, event.message) for event in events if event.kind.endswith("healthy")]
    well = ("healthy", "")
    assert found == [well, ("unhealthy", "its check failed 3 times in a row"), well, well]
    assert {event.id for event in events} == {"web"}


def test_of_what_was_before_the_reading_began_no_change_is_told() -> None:
    assert kinds([checked("healthy"), checked("healthy"), checked("unhealthy")]) == ["unhealthy"]


@pytest.mark.parametrize(
    "forged",
    [
        systemd(entries.FAILED, "nginx.service", UNIT_RESULT="exit-code"),
        systemd(entries.STARTED, "ctr-../x.service"),
        systemd(entries.STARTED, "ctr-we b.service"),
        ours("deleted", "../../etc"),
        ours("deleted", "web\nx"),
        ours("deleted", "web", _SYSTEMD_UNIT="ctr-evil.service"),
        checked("healthy", name="web"),
        checked("healthy", name="ctr-../x"),
        entry(MESSAGE_ID="0" * 32, UNIT=UNIT),
        entry(),
    ],
)
def test_what_is_about_no_gear_is_no_event(forged: Entry) -> None:
    assert told([forged]) == []


def test_a_gear_says_nothing_of_anothers_health() -> None:
    forged = checked("unhealthy", _SYSTEMD_UNIT="ctr-evil.service")
    assert kinds([*start(), forged]) == ["starting", "started"]


def test_a_text_that_would_act_on_a_terminal_is_spelt_out() -> None:
    (event,) = told([ours("pulling", "", GEARD_IMAGE="x", GEARD_TEXT="\x1b]0;owned\x07")])
    assert "\x1b" not in event.text()


def test_a_reading_remembers_a_bounded_number_of_units() -> None:
    reading = Reading()
    for number in range(UNITS * 3):
        reading.read(systemd(entries.STARTING, f"ctr-g{number}.service"))
    assert len(reading._units) == UNITS  # pyright: ignore[reportPrivateUsage]


def test_what_systemd_does_to_keep_a_container_ready_is_no_event() -> None:
    idled, woken = [asked("stop"), ours("idled"), *stop()], [asked("start"), ours("woken")]
    ready = [asked("keep-ready"), *start()]
    expected = ["idled", "stopping", "stopped", "woken"]
    assert kinds([*idled, *ready, *woken, asked("stop"), *stop()]) == [*expected, "stopping", "stopped"]
    anew = [*stop(), *ready]
    assert kinds([*idled, *ready, *anew, *woken]) == expected
    assert kinds([*idled, *ready, asked("stop"), *stop()]) == ["idled", "stopping", "stopped"], "it had not begun"
    told_to = [asked("restart"), *stop("restart"), *start()]
    assert kinds([*idled, *ready, *told_to]) == ["idled", "stopping", "stopped", "starting", "started"]
