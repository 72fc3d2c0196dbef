"""What is measured of the machine itself: its nets, its power."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from classifiers.expression.classifier import ExpressionClassifier
from classifiers.expression.engines import installed
from daemon.commands.bench import machine, nets
from daemon.commands.bench.power import Meter
from daemon.config.settings import ExpressionSettings
from tests.nets import save_tiny


def test_on_a_card_the_mode_that_the_daemon_takes_is_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """There it is bfloat16, by `auto`, beside float32."""
    monkeypatch.setattr(nets, "cuda_fault", lambda: "")
    found = nets.variants(ExpressionSettings())
    assert {(v.device, v.engine) for v in found} == {("cuda", "auto"), ("cuda", "torch")}
    for settings in (ExpressionSettings(device="cpu"), ExpressionSettings(engine="openvino")):
        found = nets.variants(settings)
        assert {(v.device, v.engine) for v in found} == {("cpu", e) for e in installed()}


def test_without_the_card_that_is_named_the_processor_is_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where expressions are off nobody has missed the card until then, and cameras are measured."""
    monkeypatch.setattr(nets, "cuda_fault", lambda: "there is none")
    found = nets.variants(ExpressionSettings(enabled=False, device="cuda"))
    assert {v.device for v in found} == {"cpu"}


def test_faces_are_timed_with_their_views(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without them `temporal` would be timed as `none`."""
    seen: list[list[int]] = []
    plain = ExpressionClassifier.predict

    def predict(*given: Any) -> Any:
        _, _, view_indices = given
        seen.append(view_indices.tolist())
        return plain(*given)

    monkeypatch.setattr(ExpressionClassifier, "predict", predict)
    weights = str(save_tiny(tmp_path / "tiny.safetensors"))
    expression = ExpressionSettings(weights=weights, max_batch=3)
    variant = nets.Variant(expression, "torch", "cpu", "temporal")
    assert variant.measure(0.0).a_second > 0.0
    assert seen == [[0, 1, 2], [0, 1, 2]]
    monkeypatch.setattr(nets, "once_s", lambda work, seconds: 0.5)  # for three faces
    assert variant.measure(0.0).a_second == 6.0


def test_what_others_take_is_told_without_what_bench_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 10 s of two processors 12 s were busy, 8 s by us. What Linux tells is made up, since
    nobody can say what others do here."""
    told = iter(["cpu 100 0 50 900 30 5 5 0 7 0\n", "cpu 1000 100 150 1500 230 55 55 0 9 0\n"])
    monkeypatch.setattr(Path, "read_text", lambda path: next(told))
    monkeypatch.setattr(os, "sysconf", lambda name: 100)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    passed, own = iter([5.0, 15.0]), iter([1.0, 9.0])
    clock = SimpleNamespace(monotonic=passed.__next__, process_time=own.__next__)
    monkeypatch.setattr(machine, "time", clock)
    assert machine.Others().share() == pytest.approx((12.0 - 8.0) / 20.0)


def test_only_processors_that_it_may_use_count() -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert machine.cores() == 1
    finally:
        os.sched_setaffinity(0, before)


def test_power_is_counted_over_the_counter_s_end(tmp_path: Path) -> None:
    """Two packages, one of whose counters starts again; a part of a package is not added to it."""
    zones = {"intel-rapl:0": 900_000, "intel-rapl:1": 100, "intel-rapl:0:0": 1}
    for name, energy_uj in zones.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "energy_uj").write_text(f"{energy_uj}\n")
        (tmp_path / name / "max_energy_range_uj").write_text("1000000\n")
    meter = Meter(tmp_path, smi=None, clock=iter((7.0, 7.5)).__next__)
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("400000\n")
    (tmp_path / "intel-rapl:1" / "energy_uj").write_text("500100\n")
    (tmp_path / "intel-rapl:0:0" / "energy_uj").write_text("900000\n")
    assert meter.watts() == pytest.approx(1e-6 * (500_000 + 500_000) / 0.5)


def test_power_of_the_whole_platform_is_not_added_to_its_packages(tmp_path: Path) -> None:
    """Laptops have such a zone. One without a name is a package."""
    zones = {"intel-rapl:0": "package-0\n", "intel-rapl:1": "psys\n", "intel-rapl:2": None}
    for zone, name in zones.items():
        (tmp_path / zone).mkdir()
        (tmp_path / zone / "energy_uj").write_text("0\n")
        if name is not None:
            (tmp_path / zone / "name").write_text(name)
    meter = Meter(tmp_path, smi=None, clock=iter((0.0, 1.0)).__next__)
    for zone, energy_uj in zip(zones, (3_000_000, 50_000_000, 4_000_000), strict=True):
        (tmp_path / zone / "energy_uj").write_text(f"{energy_uj}\n")
    assert meter.watts() == pytest.approx(7.0)


def test_a_machine_that_tells_no_power(tmp_path: Path) -> None:
    assert Meter(tmp_path, smi=None).watts() is None


def test_power_of_a_part_is_not_told(tmp_path: Path) -> None:
    """1. Cards tell, processors have no counter. 2. They have one for root only. 3. They have one
    for anyone. 4. One of the cards, or all, do not tell."""
    smi, zone = tmp_path / "smi", tmp_path / "intel-rapl:0"
    smi.write_text("#!/bin/sh\necho 300\necho 20.5\n")
    smi.chmod(0o755)
    assert Meter(tmp_path, str(smi)).watts() is None
    zone.mkdir()
    assert Meter(tmp_path, str(smi)).watts() is None
    (zone / "energy_uj").write_text("100\n")
    assert Meter(tmp_path, str(smi)).watts() == 320.5
    for fault in ("echo 300; echo '[N/A]'", "exit 9"):
        smi.write_text(f"#!/bin/sh\n{fault}\n")
        assert Meter(tmp_path, str(smi)).watts() is None
