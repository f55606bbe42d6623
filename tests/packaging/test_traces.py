"""No file of the project speaks of the machine it was written on."""

from __future__ import annotations

import re

from support.source import ROOT, project_files

# Written so that this module does not find itself.
TRACES = re.compile(
    r"""
    (?<![\w.})>*-])/(?:root|work)/       # folders of a machine
    | /(?:home|Users)/(?!ada\b|me\b|USER\b)\w  # of a person who is not the one of the examples
    | file://+(?:opt|srv|mnt)
    | (?:registry[.]npmjs|registry[.]yarnpkg|files[.]pythonhosted|deb[.]debian)[.]
    | https?://(?:pypi[.]org/simple|[^\s/]*(?:nexus|artifactory))
    """,
    re.VERBOSE,
)


def traces(text: str) -> list[str]:
    return [found.group() for found in TRACES.finditer(text)]


def test_no_file_names_a_folder_of_a_machine_or_the_host_of_a_registry() -> None:
    names = [name for name in project_files() if name != "tests/packaging/test_traces.py"]
    found = {name: traces((ROOT / name).read_bytes().decode("utf-8", "replace")) for name in names}

    assert {} == {name: each for name, each in found.items() if each}


def test_traces_are_found() -> None:
    lines = [
        "cd /root/project",
        "/home/grace/src",
        "file:///opt/wheels",
        "https://pypi.org/simple/x",
        "http://nexus.example.org/repository",
    ]

    assert [] == [line for line in lines if not traces(line)]
    assert [] == traces("https://pypi.org/project/pollinatord and /home/ada/x and ~/x and runs/1/work/src")
