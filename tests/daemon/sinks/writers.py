"""Writers for tests, and a sink that does as a test wants."""

from __future__ import annotations

import threading
from typing import Any

from prometheus_client import CollectorRegistry

from daemon.monitoring.metrics import Metrics
from daemon.sinks.base import Output, Sink, Takes
from daemon.sinks.writer import Writer
from tests.daemon.streams import value

WAIT_S = 60.0


class Gated:
    """A fake, since no real sink stalls and fails at a test's command."""

    wanted = True

    def __init__(self, takes: Takes = "pictures") -> None:
        self.takes: Takes = takes
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.fault: Exception | None = None
        self.written: list[Any] = []  # of what it takes
        self.closes = 0

    def write(self, item: Any, /) -> bool:
        self.entered.set()
        assert self.gate.wait(WAIT_S)
        if self.fault is not None:
            raise self.fault
        self.written.append(item)
        return True

    def close(self) -> None:
        self.closes += 1

    @property
    def seqs(self) -> list[int]:
        return [output.frame.seq for output in self.written]


class Bench:
    """Writers with what they need, closed at the end. `heard`: whether each told of up or down."""

    def __init__(self) -> None:
        self.heard: list[bool] = []
        self.stop = threading.Event()
        self.metrics = Metrics(CollectorRegistry())
        self.writers: list[Writer[Output]] = []

    def writer(
        self,
        sink: Sink[Output],
        label: str = "gated",
        *,
        keep_all: bool = False,
        retry: bool = True,
        clock_s: float = 0.0,
        first_delay_s: float = 0.01,
        holds_s: float = 0.0,
    ) -> Writer[Output]:
        writer = Writer(
            sink,
            "lobby",
            label,
            keep_all=keep_all,
            metrics=self.metrics,
            stop=self.stop,
            retry=retry,
            clock=lambda: clock_s,
            on_state=lambda up, reason, error: self.heard.append(up),
            first_delay_s=first_delay_s,
            holds_s=holds_s,
        )
        self.writers.append(writer)
        writer.start()
        return writer

    def value(self, name: str, **labels: str) -> float:
        return value(self.metrics.registry, f"affectd_{name}", stream="lobby", **labels)

    def dropped(self, stage: str, reason: str) -> float:
        return self.value("frames_dropped_total", stage=stage, reason=reason)
