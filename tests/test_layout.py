"""What the structure promises: what is loaded when, that every request is done, what hooks stand on."""

from __future__ import annotations

import ast
import importlib
import json
import pkgutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import geard
from geard import catalog
from geard.dispatch.operation import all_operations
from geard.request import Request, answer_type

SOURCE = Path(geard.__file__).parent
HOOKS = sorted(SOURCE.glob("*/unit_hooks/*.py"))
HEAVY = (
    "geard.host",
    "geard.dispatch",
    "geard.daemon",
    "asyncio",
    "aiohttp",
    "dbus_fast",
    "systemd",
    "yaml",
    "cryptography",
)


def loaded_by(program: str) -> set[str]:
    """The modules that a new interpreter has loaded when the program has ended."""
    tail = "\nfinally:\n    import json, sys; json.dump(sorted(sys.modules), sys.__stdout__)"
    text = "try:\n" + "\n".join(f"    {line}" for line in program.splitlines()) + tail
    finished = subprocess.run(
        [sys.executable, "-I", "-c", text], capture_output=True, text=True, check=False, timeout=30
    )
    assert finished.stdout.rpartition("\n")[2].startswith("["), finished.stderr
    return set(json.loads(finished.stdout[finished.stdout.rindex("[") :]))


def heavy(modules: set[str]) -> set[str]:
    return {name for name in modules if name in HEAVY or name.startswith(tuple(f"{part}." for part in HEAVY))}


GEAR = """
import contextlib, io, sys
sys.argv = ["gear", *{words!r}]
from geard.__main__ import main
quiet = io.StringIO()
with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet), contextlib.suppress(SystemExit):
    main()
"""


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["help", "install"],
        ["status", "127.0.0.1:1/web"],
        ["host", "list"],
        ["token", "create", "x", "127.0.0.1:1"],
        ["install", "a/b", "127.0.0.1:1/web"],
        ["version"],
    ],
)
def test_a_laptops_gear_loads_nothing_of_a_host(words: list[str]) -> None:
    modules = loaded_by(GEAR.format(words=words))
    assert "geard.cli.main" in modules
    assert heavy(modules) == set()


def test_every_request_is_done_by_an_operation_and_every_operation_is_for_a_request_of_a_room() -> None:
    catalog.load()
    requests: set[type[Request[Any]]] = {
        value
        for room in catalog.rooms_with("requests")
        for value in vars(importlib.import_module(f"geard.{room}.requests")).values()
        if isinstance(value, type) and issubclass(value, Request) and value.__module__ == f"geard.{room}.requests"
    }
    done = {request for request in all_operations() if request.__module__.startswith("geard.")}
    assert {request.__name__ for request in requests} == {request.__name__ for request in done}
    for request in requests:
        assert answer_type(request) is not None


def test_every_request_with_a_route_is_asked_by_its_own_path() -> None:
    catalog.load()
    routes = [
        (method, request.route.path)
        for request in all_operations()
        if request.route is not None and request.__module__.startswith("geard.")
        for method in (request.route.method, *request.route.also)
    ]
    assert len(routes) == len(set(routes))


def test_every_room_and_floor_says_what_it_is_for() -> None:
    folders = sorted({path.parent for path in SOURCE.glob("*/*.py")})
    assert len(folders) >= 10
    for folder in folders:
        assert ast.get_docstring(ast.parse((folder / "__init__.py").read_text())), (
            f"{folder.name} has no docstring"
        )


def test_every_module_says_what_it_is_for_and_can_be_loaded() -> None:
    for module in pkgutil.walk_packages([str(SOURCE)], "geard."):
        if not module.name.endswith("__main__"):
            assert importlib.import_module(module.name).__doc__, module.name
    for hook in HOOKS:
        assert ast.get_docstring(ast.parse(hook.read_text())), hook


def test_every_verb_says_what_it_does_and_stands_in_a_group() -> None:
    from geard.cli import main as cli

    catalog.doors("commands")
    for name, command in cli.root.commands.items():
        assert command.help, name
        assert cli._groups[name] in cli.GROUPS  # pyright: ignore[reportPrivateUsage]


OPERATION = """
from geard import catalog
from geard.dispatch.operation import all_operations, find_operations, operation_for
from geard.{module} import {request}
find_operations(catalog.load_operations)
assert operation_for({request}).request is {request}
"""


@pytest.mark.parametrize(
    ("module", "request_", "rooms"),
    [
        ("containers.requests", "ListContainers", {"containers"}),
        ("jobs.requests", "ListJobs", {"jobs"}),
        ("ports.requests", "ChangePorts", set(catalog.rooms_with("operations"))),  # another room does it
    ],
)
def test_what_one_asks_on_this_machine_loads_no_more_rooms(module: str, request_: str, rooms: set[str]) -> None:
    modules = loaded_by(OPERATION.format(module=module, request=request_))
    assert {name.split(".")[1] for name in modules if name.endswith(".operations")} == rooms


def test_who_looks_at_all_operations_has_them_all() -> None:
    program = OPERATION.format(module="containers.requests", request="ListContainers")
    modules = loaded_by(f"{program}all_operations()")
    assert {name.split(".")[1] for name in modules if name.endswith(".operations")} == set(
        catalog.rooms_with("operations")
    )


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook.stem)
def test_a_hook_stands_on_the_standard_library_and_one_small_module(hook: Path) -> None:
    """Nothing but what a bare interpreter has; of geard the environment file's format, and what that imports."""
    allowed = {"geard", "geard.environments", "geard.environments.file", "geard.failures"}
    program = f"""
import runpy, sys
sys.path[:] = [path for path in sys.path if "site-packages" not in path and "dist-packages" not in path]
sys.path.append({str(SOURCE.parent)!r})
runpy.run_path({str(hook)!r}, run_name="hook")
"""
    text = f"{program}\nimport json\njson.dump(sorted(sys.modules), sys.stdout)"
    argv = [sys.executable, "-I", "-S", "-c", text]
    finished = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)
    assert finished.returncode == 0, finished.stderr
    modules = set(json.loads(finished.stdout))
    assert {name for name in modules if name.partition(".")[0] == "geard"} <= allowed
    standard = set(sys.stdlib_module_names) | {"__main__", "geard"}
    assert {name for name in modules if name.partition(".")[0] not in standard} == set()
    assert "asyncio" not in modules


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook.stem)
def test_a_hook_is_a_program(hook: Path) -> None:
    assert hook.read_text().startswith("#!/usr/bin/python3 -IS\n")
    assert hook.stat().st_mode & 0o111


def test_what_tests_use_of_the_package_is_what_is_in_this_tree() -> None:
    assert (Path(__file__).parents[1] / "src" / "geard") == SOURCE
