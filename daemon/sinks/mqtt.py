"""A stream's readings and state, under topics of an MQTT broker:

PREFIX/STREAM/availability   online, or offline once affectd is gone; retained
PREFIX/STREAM/state          whether the source gives pictures, and what its faces show; retained
PREFIX/STREAM/reading        each reading as it comes; not retained, delivered at most once
"""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence

from classifiers.expression import LABELS
from daemon.config.sink_settings import MqttSinkSettings
from daemon.errors import SinkError
from daemon.reading import UNKNOWN, FaceView
from daemon.sinks import home_assistant
from daemon.sinks.base import Output, Takes
from daemon.sinks.broker import TIMEOUT_S, Broker

STATE_EVERY_S = 0.5  # the state is published no more often, however fast faces change
LINGER_S = 1.0  # a face that the detector misses for less stays in the state
STALE_S = 12.0  # a label that was not confirmed for so long becomes "unknown"
GOODBYE_S = 1.5


class MqttTopics:
    """Publishes to the broker that `config` names, over one connection.

    All retained messages are published again with each connection: the broker may have lost them.
    At the end, those that would be wrong once affectd is gone are replaced.
    """

    takes: Takes = "news"
    wanted = True

    def __init__(
        self,
        config: MqttSinkSettings,
        stream: str,
        *,
        timeout_s: float = TIMEOUT_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._stream = stream
        self._topics = f"{config.prefix}/{stream}"
        self._timeout_s = timeout_s
        self._monotonic = monotonic
        self._broker: Broker | None = None
        self._faces: dict[int, tuple[float, FaceView]] = {}  # by track, with the time last seen
        self._state = state(False, ())
        self._told: str | None = None
        self._told_s = -math.inf

    def write(self, output: Output) -> bool:
        self._see(output)
        try:
            is_new = self._broker is None
            broker = self._broker or self._sign_in()
            for reading in output.readings:
                broker.send(f"{self._topics}/reading", reading.to_json())
            told = self._tell(broker)
            broker.flush()
        except SinkError:
            self._drop()
            raise
        return is_new or told or bool(output.readings)

    def close(self) -> None:
        broker = self._broker
        if broker is None:
            return
        try:
            broker.keep(f"{self._topics}/state", state(False, ()), GOODBYE_S)
            broker.keep(f"{self._topics}/availability", "offline", GOODBYE_S)
            broker.goodbye(GOODBYE_S)
        finally:
            self._drop()

    def _see(self, output: Output) -> None:
        now_s = output.frame.pts_s
        before = {} if output.faces is None else self._faces
        seen = before | {face.track: (now_s, face) for face in output.faces or ()}
        self._faces = {
            track: (seen_s, face)
            for track, (seen_s, face) in seen.items()
            if 0.0 <= now_s - seen_s < LINGER_S
        }
        is_live = output.faces is not None
        self._state = state(is_live, [face for _, face in self._faces.values()])

    def _sign_in(self) -> Broker:
        # The client ID is the same after a crash, so that the broker drops the old connection.
        name = home_assistant.device_id(self._topics)
        will = f"{self._topics}/availability"
        broker = self._broker = Broker(self._config, name, will, timeout_s=self._timeout_s)
        broker.open()
        if self._config.discovery:
            topic = f"{self._config.discovery}/device/{name}/config"
            broker.keep(topic, home_assistant.discovery(self._topics, self._stream))
        self._told = None
        self._tell(broker)
        broker.keep(will, "online")  # last, so that nobody takes an old retained state for new
        return broker

    def _tell(self, broker: Broker) -> bool:
        """Publish the state if it has changed; if the last one is too recent, a later output brings
        it. Returns whether it was published."""
        now_s = self._monotonic()
        is_soon = self._told is not None and now_s - self._told_s < STATE_EVERY_S
        if self._state == self._told or is_soon:
            return False
        broker.keep(f"{self._topics}/state", self._state)
        self._told, self._told_s = self._state, now_s
        return True

    def _drop(self) -> None:
        broker, self._broker = self._broker, None
        if broker is not None:
            broker.drop()


def state(live: bool, faces: Sequence[FaceView]) -> str:
    """A stream's state as a line of JSON. `expression` is that of the largest face, null where
    there is none; a face that was not read yet counts only in `faces`."""
    labels = Counter(map(_label, faces))
    largest = max(faces, key=lambda face: face.box_px[2] * face.box_px[3], default=None)
    return json.dumps(
        {
            "live": live,
            "faces": len(faces),
            "expression": None if largest is None else _label(largest),
            "labels": {label: labels[label] for label in (*LABELS, UNKNOWN)},
        }
    )


def _label(face: FaceView) -> str | None:
    return UNKNOWN if face.label is not None and face.age_s > STALE_S else face.label
