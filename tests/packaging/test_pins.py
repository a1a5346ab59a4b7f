"""The versions in the metadata, the pins, the tools and the image agree."""

import re
from configparser import ConfigParser

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from tests.packaging.tree import ROOT


def metadata() -> ConfigParser:
    parser = ConfigParser(interpolation=None)
    parser.read(ROOT / "setup.cfg", encoding="utf-8")
    return parser


def wanted() -> list[Requirement]:
    parser = metadata()
    texts = [parser["options"]["install_requires"], *parser["options.extras_require"].values()]
    return [Requirement(line) for text in texts for line in text.splitlines() if line]


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = [Requirement(line) for line in lines if not line.startswith("#")]
    return {canonicalize_name(each.name): str(each.specifier).removeprefix("==") for each in pinned}


def pythons() -> list[str]:
    return re.findall(r"Python :: (3\.\d+)$", metadata()["metadata"]["classifiers"], flags=re.MULTILINE)


def test_each_requirement_is_pinned_within_its_bounds() -> None:
    pinned = pins()
    for requirement in wanted():
        assert pinned.get(canonicalize_name(requirement.name), "nothing") in requirement.specifier, (
            requirement
        )


def test_pins_are_exact_sorted_and_name_no_host_or_path() -> None:
    lines = [each for each in (ROOT / "constraints.txt").read_text().splitlines() if not each.startswith("#")]
    pin = re.compile(r"[a-z0-9-]+==[0-9][0-9a-z.]*( ; [a-z_]+ (==|!=|<|>=) '[A-Za-z0-9.]+')?")
    assert [line for line in lines if not pin.fullmatch(line)] == []
    names = [line.partition("==")[0] for line in lines]
    assert names == sorted(set(names))


def test_everybody_names_the_same_pythons() -> None:
    oldest, *_, newest = pythons()
    assert oldest in SpecifierSet(metadata()["options"]["python_requires"])
    assert f'target-version = "py{oldest.replace(".", "")}"' in (ROOT / "ruff.toml").read_text()
    makefile = (ROOT / "Makefile").read_text()
    tried = re.findall(r"\$\(or \$\(PYTHON\),(.*?)\)", makefile)
    assert set(tried) == {" ".join(f"python{each}" for each in [*reversed(pythons()), "3"])}
    assert f"--python-version {oldest} " in makefile
    bases = re.findall(r"^FROM python:(\S+)-slim", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    assert set(bases) == {newest}
