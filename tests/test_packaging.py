"""What the wheel holds, what an installation leaves behind, and who else may own our names."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from daemon.service.clashes import clashes
from tests.affectd import LIGHT, ROOT, STREAM, affectd


def distribution(site: Path, name: str, files: list[str], top_level: str | None = None) -> None:
    """Put an installed distribution's metadata under `site`, as pip would."""
    info = site / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    if top_level is None:
        (info / "RECORD").write_text("".join(f"{file},sha256=abc,1\n" for file in files))
    else:
        (info / "top_level.txt").write_text(top_level)


def test_this_environment_has_no_fault() -> None:
    assert clashes() == []


def test_a_stranger_that_owns_our_name_is_named(tmp_path: Path) -> None:
    distribution(tmp_path, "affectd", ["daemon/__init__.py", "classifiers/base.py"])
    distribution(tmp_path, "python-daemon", ["daemon/__init__.py", "daemon/pidfile.py"])
    distribution(tmp_path, "Old_Detectors", [], top_level="detectors\n")
    distribution(tmp_path, "one-file", ["classifiers.py", "__pycache__/classifiers.pyc"])
    distribution(tmp_path, "harmless", ["daemonic/x.py", "my/daemon/x.py", "detectors_x.py"])
    lines = clashes([str(tmp_path)])
    assert [line.split(" also ")[0] for line in lines] == [
        "the distribution python-daemon",
        "the distribution old-detectors",
        "the distribution one-file",
    ]
    assert "'daemon'" in lines[0]
    assert "pip uninstall python-daemon" in lines[0]


@pytest.mark.parametrize("command", ["run", "check"])
def test_beside_a_stranger_affectd_does_not_start(tmp_path: Path, command: str) -> None:
    distribution(tmp_path, "python-daemon", ["daemon/__init__.py"])
    (tmp_path / "affectd.toml").write_text(LIGHT + STREAM)
    done = affectd(command, "affectd.toml", cwd=tmp_path, PYTHONPATH=f"{ROOT}:{tmp_path}")
    assert done.returncode == 1
    assert "the distribution python-daemon also owns the import name 'daemon'" in done.stderr


def test_what_is_left_of_a_removed_distribution_does_no_harm(tmp_path: Path) -> None:
    distribution(tmp_path, "opencv-python", ["cv2/__init__.py"])
    (tmp_path / "opencv_python-1.0.dist-info" / "METADATA").unlink()
    assert clashes([str(tmp_path)]) == []


def test_two_owners_of_cv2_are_named(tmp_path: Path) -> None:
    distribution(tmp_path, "opencv-contrib-python", ["cv2/__init__.py"])
    assert clashes([str(tmp_path)]) == []
    distribution(tmp_path, "opencv-python", ["cv2/__init__.py", "cv2/cv2.abi3.so"])
    (line,) = clashes([str(tmp_path)])
    assert "opencv-contrib-python, opencv-python" in line
    assert "pip uninstall opencv-python," in line


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The names in the wheel, built from the files that git tracks, without the network."""
    out = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (path,) = out.glob("affectd-*.whl")
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


def test_the_wheel_has_our_three_names_and_no_other(wheel: list[str]) -> None:
    tops = {name.partition("/")[0] for name in wheel}
    info = {name for name in tops if name.endswith((".dist-info", ".data"))}
    assert tops - info == {"daemon", "detectors", "classifiers"}


def test_the_wheel_holds_what_is_no_python(wheel: list[str]) -> None:
    for folder in ("daemon/web/page", "classifiers/expression/weights"):
        files = {f"{folder}/{path.name}" for path in (ROOT / folder).iterdir() if path.is_file()}
        assert files
        assert files <= set(wheel)
    for folder in ("config", "systemd"):
        for path in (ROOT / folder).rglob("*.*"):
            end = f".data/data/share/affectd/{path.relative_to(ROOT)}"
            assert [name for name in wheel if name.endswith(end)]
    assert not [name for name in wheel if "__pycache__" in name or name.endswith(".pyc")]


needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=250
    )


@needs_make
def test_make_install_puts_the_files_in_place_and_keeps_a_configuration(tmp_path: Path) -> None:
    """1. A first install. 2. The owner edits the configuration. 3. A second install keeps it."""
    arguments = ("install", f"DESTDIR={tmp_path}", "PREFIX=/srv/affectd")
    done = make(*arguments)
    assert done.returncode == 0, done.stderr
    unit = (tmp_path / "etc/systemd/system/affectd.service").read_text()
    assert "ExecStart=/srv/affectd/venv/bin/affectd run /etc/affectd/affectd.toml" in unit
    assert "/opt/affectd" not in unit
    assert (tmp_path / "etc/sysusers.d/affectd.conf").is_file()
    link = tmp_path / "usr/local/bin/affectd"
    assert link.readlink() == Path("/srv/affectd/venv/bin/affectd")
    config = tmp_path / "etc/affectd/affectd.toml"
    assert config.read_text() == (ROOT / "config/affectd.toml").read_text()
    assert config.stat().st_mode & 0o777 == 0o640

    config.write_text("# mine\n")
    assert make(*arguments).returncode == 0
    assert config.read_text() == "# mine\n"

    assert make("uninstall", *arguments[1:]).returncode == 0
    assert [path for path in tmp_path.rglob("*") if not path.is_dir()] == [config]


@needs_make
def test_what_make_installs_the_service_may_read() -> None:
    """Whatever the umask of who installs. In place of its parts it runs `umask`, which says it."""
    command = ["make", "--no-print-directory", "install", "DESTDIR=/nowhere", "MAKE=umask #"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, umask=0o077)
    assert done.stdout == "0022\n", done.stderr


@needs_make
def test_make_names_a_python_that_is_too_old(tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    shutil.copy(ROOT / "Makefile", tmp_path)
    done = subprocess.run(
        ["make", ".venv/set-up/venv", f"PYTHON={old}"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert f"affectd: no Python 3.11 or newer among: {old};" in done.stderr


@needs_make
def test_make_notices_a_python_that_was_upgraded(tmp_path: Path) -> None:
    """1. All is set up. 2. What was installed is out of the new Python's sight: everything is made
    anew, and nothing of the old kept. The Pythons are fake: they say that they have pip, or not."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    python = tmp_path / ".venv/bin/python"
    stamps = [tmp_path / f".venv/set-up/{name}" for name in ("venv", "run", "dev")]
    for file in (python, *stamps, tmp_path / ".setup/libraries"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    python.chmod(0o755)

    def make(*arguments: str) -> int:
        command = ["make", f"PYTHON={new}", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode

    new, asked = tmp_path / "python3", tmp_path / "asked"
    new.write_text(f'#!/bin/sh\necho "$@" >> {asked}\n')
    new.chmod(0o755)
    python.write_text("#!/bin/sh\n")
    assert make("--question", ".venv/set-up/dev") == 0
    python.write_text('#!/bin/sh\n[ "$2" != "import pip" ]\n')
    assert make("--question", ".venv/set-up/dev") == 1
    assert make(".venv/set-up/venv") == 0
    assert asked.read_text().splitlines()[-1] == "-m venv --clear .venv"


def test_ci_runs_make_test() -> None:
    script = ROOT / ".ci/run"
    assert script.stat().st_mode & 0o111
    assert script.read_text().splitlines()[-1] == "make test"
