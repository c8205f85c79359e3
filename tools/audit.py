"""Known vulnerabilities: declared bounds against a table, and what is installed against the public list.

`--offline` leaves the public list out. Otherwise it is an error if the list has nothing to say on any package: then it
was not reached, and nothing was audited.
"""

import argparse
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
TABLE = Path(__file__).with_name("known_faults.toml")


def known_faults() -> dict[str, dict[str, Any]]:
    """The table: requirements by name, with the first release without known faults."""
    return tomllib.loads(TABLE.read_text(encoding="utf-8"))


def declared() -> Iterator[tuple[str, Requirement]]:
    """Each requirement of each package, those of extras too, and the releases that everything is tested with."""
    for path in sorted(ROOT.glob("packages/*/pyproject.toml")):
        project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
        for requirements in (project["dependencies"], *project.get("optional-dependencies", {}).values()):
            yield from ((path.parent.name, Requirement(requirement)) for requirement in requirements)
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            yield "constraints.txt", Requirement(line)


def too_low() -> list[str]:
    """Requirements that let a release with a known fault in."""
    found = []
    table = known_faults()
    for where, requirement in declared():
        entry = table.get(requirement.name)
        bounds = [Version(one.version) for one in requirement.specifier if one.operator in (">=", "==", "~=")]
        if entry is not None and max(bounds, default=Version("0")) < Version(entry["fixed"]):
            faults = ", ".join(entry["faults"])
            found.append(f"{where} requires {requirement}, and {entry['fixed']} is the first without {faults}")
    return found


def installed() -> tuple[list[str], int, int]:
    """Faults on the public list, and how many packages it knows and does not know."""
    command = [sys.executable, "-m", "pip_audit", "--skip-editable", "--format", "json", "--progress-spinner", "off"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if not run.stdout.startswith("{"):
        return [], 0, 0
    packages = [one for one in json.loads(run.stdout)["dependencies"] if "editable" not in one.get("skip_reason", "")]
    compared = [one for one in packages if "skip_reason" not in one]
    faults = [
        f"{one['name']} {one['version']}: {fault['id']}, fixed in {', '.join(fault['fix_versions']) or 'no release'}"
        for one in compared
        for fault in one["vulns"]
    ]
    return faults, len(compared), len(packages) - len(compared)


def main() -> int:
    """Print what is found; the exit status is 1 for a known fault, or if nothing was compared."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--offline", action="store_true", help="the table alone")
    options = parser.parse_args()
    wrong = too_low()
    faults = sum(len(entry["faults"]) for entry in known_faults().values())
    print(f"Declared bounds against {faults} known faults of {', '.join(known_faults())}: {len(wrong)} too low")
    if not options.offline:
        found, compared, unknown = installed()
        wrong += found
        print(f"Installed against the public list: {compared} packages compared, {unknown} not known to it")
        if not compared:
            wrong.append("The public list of vulnerabilities was not reached: run this where it is, or with --offline")
    print(*wrong, sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
