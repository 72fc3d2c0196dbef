"""A real MQTT broker, Debian's mosquitto, as an ordinary user, and somebody who listens to it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from tests.waiting import wait_for_server, wait_until

# Unpacked by `make test`, or installed.
_BIN = [Path(folder) for folder in os.environ["PATH"].split(os.pathsep) if folder]
_SBIN = [folder.parent / "sbin" for folder in _BIN]
MOSQUITTO = shutil.which("mosquitto", path=os.pathsep.join(map(str, (*_BIN, *_SBIN))))
PASSWD = shutil.which("mosquitto_passwd")
needs_mosquitto = pytest.mark.skipif(
    MOSQUITTO is None or PASSWD is None, reason="no broker here: Debian's mosquitto"
)


class Mosquitto:
    """A broker on 127.0.0.1 that keeps nothing over its end, within a `with` block.

    With `users` (name, password) nobody else is let in; `rules` are lines of its list of who may
    do what. `host` is where it listens.
    """

    def __init__(
        self,
        folder: Path,
        *,
        users: dict[str, str] | None = None,
        rules: str = "",
        host: str = "127.0.0.1",
    ) -> None:
        self._host = host
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        with socket.create_server((self._host, 0), family=family) as free:
            self.port: int = free.getsockname()[1]
        self._config, self._log = folder / "mosquitto.conf", folder / "mosquitto.log"
        # Started by root it would become somebody who cannot read these files.
        lines = ["user root", f"listener {self.port} {self._host}", "persistence false"]
        lines.append(f"allow_anonymous {'false' if users else 'true'}")
        if users:
            passwords = folder / "passwords"
            passwords.touch()
            for name, password in users.items():
                assert PASSWD is not None
                command: list[str | Path] = [PASSWD, "-b", passwords, name, password]
                subprocess.run(command, check=True, env=_environment(), capture_output=True)
            lines.append(f"password_file {passwords}")
        if rules:
            (folder / "rules").write_text(rules)
            lines.append(f"acl_file {folder / 'rules'}")
        self._config.write_text("\n".join(lines) + "\n")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert MOSQUITTO is not None
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [MOSQUITTO, "-c", self._config, "-v"], env=_environment(), stdout=log, stderr=log
            )
        wait_for_server(self._process, self._host, self.port, self._log)

    def stop(self) -> None:
        """Kill it: connections break, and all that it kept is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """It answers nobody any more, and no connection breaks."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def url(self, user: str = "", prefix: str = "/affectd") -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"mqtt://{user and f'{user}@'}{host}:{self.port}{prefix}"

    def __enter__(self) -> Mosquitto:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Listener:
    """Hears all that a broker passes on, within a `with` block: (topic, payload, whether it was
    kept from before)."""

    def __init__(self, broker: Mosquitto, user: str | None = None, password: str = "") -> None:
        self.heard: list[tuple[str, str, bool]] = []
        self._broker = broker
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, reconnect_on_failure=False)
        if user is not None:
            self._client.username_pw_set(user, password)
        self._subscribed: list[Any] = []
        self._client.on_message = self._on_message
        self._client.on_subscribe = lambda *told: self._subscribed.append(told)

    def _on_message(self, client: Any, data: Any, message: mqtt.MQTTMessage) -> None:
        self.heard.append((message.topic, message.payload.decode(), message.retain))

    def all(self, topic: str) -> list[str]:
        """What was said under `topic`, oldest first."""
        return [said for name, said, _ in self.heard if name == topic]

    def last(self, topic: str) -> str | None:
        """What was said under `topic` last; None for nothing yet."""
        return next(reversed(self.all(topic)), None)

    def states(self, stream: str = "lobby") -> list[dict[str, Any]]:
        return [json.loads(said) for said in self.all(f"affectd/{stream}/state")]

    def wait_for(self, topic: str, payload: str) -> None:
        wait_until(lambda: self.last(topic) == payload)

    def __enter__(self) -> Listener:
        self._client.connect("127.0.0.1", self._broker.port)
        self._client.loop_start()
        self._client.subscribe("#", qos=1)
        wait_until(lambda: self._subscribed)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()
        self._client.on_message = self._client.on_subscribe = None


def _environment() -> dict[str, str]:
    """With the libraries that were unpacked beside the program."""
    assert MOSQUITTO is not None
    libraries = map(str, Path(MOSQUITTO).parents[1].glob("lib/*-linux-gnu"))
    return {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(libraries)}
