"""What can be known of image and compose file without a container engine: all that they name is
there, versions are pinned, and what the image copies is enough to build affectd."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from daemon.config.file import load
from tests.affectd import ROOT
from tests.operations.queries import dashboard
from tests.serving import serving

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()
SERVICES: dict[str, Any] = COMPOSE["services"]
PROVISIONING = ROOT / "config/grafana/provisioning"
# A name and at least two numbers, such as repository/name:v1.2.
PINNED = re.compile(r"[a-z0-9./-]+:v?\d+(\.\d+)+[a-z0-9.-]*")


def mounts(service: str) -> dict[str, str]:
    """From a path inside the container to what lies there: ./a/path, or the name of a volume."""
    volumes = [volume.split(":") for volume in SERVICES[service].get("volumes", [])]
    return {inside: outside for outside, inside, *_ in volumes}


def lies_at(service: str, inside: str) -> Path:
    """The file or folder of this checkout that a container sees at a path."""
    for mount, outside in mounts(service).items():
        if outside.startswith("./") and Path(inside).is_relative_to(mount):
            return ROOT / outside / Path(inside).relative_to(mount)
    raise AssertionError(f"nothing of this checkout lies at {inside} in {service}")


def test_every_image_is_pinned() -> None:
    images = [service["image"] for service in SERVICES.values()]
    (base,) = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert len(images) == 4
    for image in [*images, base]:
        assert PINNED.fullmatch(image), image


def test_an_update_keeps_the_layer_with_pytorch() -> None:
    """What is copied from another stage is one layer, PyTorch and all, new with any change."""
    assert "COPY --from" not in DOCKERFILE
    assert DOCKERFILE.index("pip install ${TORCH}") < DOCKERFILE.index("\nCOPY ")


def test_the_image_has_the_version_of_the_project() -> None:
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version
    assert SERVICES["affectd"]["image"] == f"affectd:{version[1]}"


def test_all_that_is_mounted_is_there_and_none_a_single_file() -> None:
    for service in SERVICES:
        for outside in mounts(service).values():
            if outside.startswith("./"):
                # A file would stay the old one inside when it is replaced outside.
                assert (ROOT / outside).is_dir(), outside
            else:
                assert outside in COMPOSE["volumes"], outside


def test_nothing_is_open_to_the_network() -> None:
    for service in SERVICES.values():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_mediamtx_offers_no_transport_whose_ports_are_not_handed_on() -> None:
    assert SERVICES["mediamtx"]["environment"] == {"MTX_RTSPTRANSPORTS": "tcp"}


def test_affectd_finds_its_configuration_and_the_others_find_each_other() -> None:
    config = re.findall(r'"(/etc/affectd/\S+)"', DOCKERFILE)[-1]
    settings = load(lies_at("affectd", config), {}).settings
    urls = [stream.url.get_secret_value() for stream in settings.stream]
    for stream in settings.stream:
        urls += [sink.url.get_secret_value() for sink in stream.sink if hasattr(sink, "url")]
    hosts = [host for url in urls for host in re.findall(r"^rtsp://([^:/]+)", url)]
    assert hosts == ["mediamtx", "mediamtx"]  # a camera comes from there, the demo goes there
    assert "mediamtx" in SERVICES
    scrape = yaml.safe_load(lies_at("prometheus", "/etc/prometheus/prometheus.yml").read_text())
    (target,) = scrape["scrape_configs"][0]["static_configs"][0]["targets"]
    host, _, port = target.partition(":")
    assert host in SERVICES
    assert host in settings.daemon.allowed_hosts
    assert int(port) == settings.daemon.port
    assert f"EXPOSE {port}" in DOCKERFILE
    assert f"127.0.0.1:{port}:{port}" in SERVICES["affectd"]["ports"]
    assert f"http://127.0.0.1:{port}/livez" in DOCKERFILE
    for rules in scrape["rule_files"]:
        assert lies_at("prometheus", rules).is_file()


def test_grafana_finds_prometheus_and_the_dashboard() -> None:
    mounted = mounts("grafana")["/etc/grafana/provisioning"]
    assert ROOT / mounted == PROVISIONING
    (source,) = yaml.safe_load((PROVISIONING / "datasources/prometheus.yml").read_text())[
        "datasources"
    ]
    assert source["type"] == "prometheus"
    assert source["url"].removeprefix("http://").partition(":")[0] in SERVICES
    (provider,) = yaml.safe_load((PROVISIONING / "dashboards/affectd.yml").read_text())["providers"]
    found = lies_at("grafana", f"{provider['options']['path']}/affectd.json")
    assert found.is_file()
    # A provisioned dashboard is found by its uid, whatever its title becomes.
    assert dashboard()["uid"] == "affectd"


def copied() -> list[str]:
    """What the Dockerfile copies out of the checkout."""
    lines = re.findall(r"^COPY (.+)$", DOCKERFILE, re.MULTILINE)
    return [source for line in lines for source in line.split()[:-1]]


def test_what_the_image_copies_is_let_through_by_dockerignore() -> None:
    let_through = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    assert let_through == set(copied())


def test_what_the_image_copies_builds_affectd(tmp_path: Path) -> None:
    for source in copied():
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, tmp_path / source)
        else:
            shutil.copy(ROOT / source, tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "dist").glob("affectd-*.whl"))


@pytest.mark.parametrize("answers", [True, False])
def test_the_health_check_says_whether_affectd_answers(answers: bool) -> None:
    check = re.search(r'^HEALTHCHECK .*?CMD \["python", "-c", "(.+?)"\]$', DOCKERFILE, re.M | re.S)
    assert check
    with serving("lobby") as house:
        if not answers:
            house.health.loop("hung", limit_s=-1.0)
        code = check[1].replace(":9464", f":{house.web.port}")
        proxy = {"http_proxy": "http://127.0.0.1:9"}  # as Docker gives its own to containers
        done = subprocess.run(
            [sys.executable, "-c", code], env=os.environ | proxy, capture_output=True, timeout=200
        )
    assert (done.returncode == 0) is answers, done.stderr
    assert (b"503" in done.stderr) is not answers


def test_the_image_brings_the_libraries_that_the_makefile_names() -> None:
    packages = re.search(r"^RUNTIME_PACKAGES := (.+)$", (ROOT / "Makefile").read_text(), re.M)
    assert packages
    assert packages[1] in DOCKERFILE


def test_the_image_asks_for_what_encodes_and_decodes_on_an_nvidia_card() -> None:
    asked = re.search(r"NVIDIA_DRIVER_CAPABILITIES=(\S+)", DOCKERFILE)
    assert asked
    assert set(asked[1].split(",")) == {"compute", "utility", "video"}


def test_the_image_runs_as_no_root() -> None:
    users = re.findall(r"^USER (.+)$", DOCKERFILE, re.MULTILINE)
    assert users == ["affectd"]
    assert DOCKERFILE.index("USER affectd") < DOCKERFILE.index("ENTRYPOINT")


def test_the_guide_gives_folders_and_files_to_the_user_of_the_image() -> None:
    user = re.search(r"useradd .*--uid (\d+)", DOCKERFILE)
    assert user
    guide = (ROOT / "docs/containers.md").read_text()
    assert f"chown {user[1]} " in guide
    assert set(re.findall(r"-o (\d+)", guide)) == {user[1]}


@pytest.mark.parametrize("name", sorted(p.name for p in PROVISIONING.rglob("*.yml")))
def test_provisioning_is_of_the_version_that_grafana_reads(name: str) -> None:
    (path,) = PROVISIONING.rglob(name)
    assert yaml.safe_load(path.read_text())["apiVersion"] == 1
