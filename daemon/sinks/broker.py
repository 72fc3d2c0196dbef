"""A connection to an MQTT broker; all its faults are SinkErrors."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from classifiers.extras import extra
from daemon.config.sink_settings import MqttSinkSettings
from daemon.errors import Reason, SinkError, plain
from daemon.redact import redact_url
from daemon.url import decoded, split_url

with extra("mqtt"):
    import paho.mqtt.client as mqtt
    from paho.mqtt.enums import CallbackAPIVersion
    from paho.mqtt.reasoncodes import ReasonCode

TIMEOUT_S = 10.0
KEEPALIVE_S = 20  # After one and a half of these, the broker gives up a silent client.
_NOT_LET_IN = (0x86, 0x87, 0x8A, 0x8C)  # a wrong password, not authorised, banned, bad method


class Broker:
    """One connection, from `open` to `drop`. `open`, `keep` and `flush` wait for the broker, each
    `timeout_s` at most, and raise SinkError; once the broker has refused something or is gone, each
    of them does.

    MQTT 5, since by 3.1.1 a broker silently discards what it does not allow. A thread of the
    library keeps the connection alive between two calls; it never connects again.
    """

    def __init__(
        self, config: MqttSinkSettings, client: str, will: str, *, timeout_s: float = TIMEOUT_S
    ) -> None:
        """`client` is the MQTT client ID. If affectd is gone without a `goodbye`, the broker
        publishes a retained "offline" under the topic `will`."""
        self._shown = redact_url(config.url.get_secret_value())
        self._address = config.address
        self._timeout_s = timeout_s
        self._changed = threading.Condition()
        # Guarded by _changed.
        self._accepted = False
        self._unsettled = 0  # messages not yet sent, or not yet acknowledged if retained
        self._fault: tuple[Reason, str] | None = None
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client, protocol=mqtt.MQTTv5, reconnect_on_failure=False
        )
        self._client.connect_timeout = timeout_s
        self._client.will_set(will, "offline", qos=1, retain=True)
        url = split_url(config.url.get_secret_value())
        if url.user is not None:
            password = None if url.password is None else decoded(url.password)
            self._client.username_pw_set(decoded(url.user), password)
        if url.scheme == "mqtts":
            context = ssl.create_default_context()
            if not config.tls_verify:
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            context.sslsocket_class = _Socket
            self._client.tls_set_context(context)
        self._client.on_connect = self._on_connect
        self._client.on_publish = self._on_publish
        self._client.on_disconnect = self._on_disconnect

    def open(self) -> None:
        """Connect and sign in."""
        try:
            self._client.connect(*self._address, keepalive=KEEPALIVE_S)
        except (OSError, UnicodeError) as error:  # UnicodeError: an impossible host name
            raise self._error(*_meaning(error, self._timeout_s)) from error
        self._client.loop_start()
        self._wait(lambda: self._accepted, self._timeout_s)

    def send(self, topic: str, payload: str) -> None:
        """Publish one message without waiting; it may get lost (QoS 0)."""
        self._publish(topic, payload)

    def keep(self, topic: str, payload: str, timeout_s: float | None = None) -> None:
        """Publish a retained message, and wait until the broker has acknowledged it (QoS 1)."""
        self._publish(topic, payload, qos=1, retain=True)
        try:
            self.flush(timeout_s)
        except SinkError as error:
            raise SinkError(error.reason, f"{error}, at {topic}") from error

    def flush(self, timeout_s: float | None = None) -> None:
        """Wait until all messages are sent, and acknowledged if retained; without any, just check
        the connection."""
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        self._wait(lambda: self._unsettled == 0, limit_s)

    def goodbye(self, timeout_s: float) -> None:
        """Disconnect properly, so that the broker does not publish the will."""
        self._client.disconnect()
        with self._changed:
            self._changed.wait_for(lambda: self._fault is not None, timeout_s)

    def drop(self) -> None:
        """Close the connection in any case; the broker publishes the will unless there was a
        goodbye."""
        if isinstance(connection := self._client.socket(), socket.socket):
            with suppress(OSError):  # Else the library's thread goes on while anything is unsent.
                connection.shutdown(socket.SHUT_RDWR)
        self._client.loop_stop()
        # Else client and Broker are a reference cycle, and sockets wait for garbage collection.
        self._client.on_connect = self._client.on_publish = self._client.on_disconnect = None

    def _publish(self, topic: str, payload: str, *, qos: int = 0, retain: bool = False) -> None:
        with self._changed:
            self._unsettled += 1
        self._client.publish(topic, payload, qos, retain)

    def _wait(self, is_so: Callable[[], bool], timeout_s: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._fault is not None or is_so(), timeout_s)
            if self._fault is not None:
                raise self._error(*self._fault)
            if not is_so():
                raise self._error(Reason.TIMEOUT, f"no answer within {timeout_s:g} s")

    def _error(self, reason: Reason, what: str) -> SinkError:
        return SinkError(reason, f"mqtt sink: {self._shown}: {what}")

    # The library's thread calls the following methods.

    def _on_connect(self, client: Any, data: Any, flags: Any, code: ReasonCode, more: Any) -> None:
        with self._changed:
            self._accepted = not code.is_failure
            self._note(code, "it does not let us in")
            self._changed.notify_all()

    def _on_publish(self, client: Any, data: Any, number: int, code: ReasonCode, more: Any) -> None:
        with self._changed:
            self._unsettled -= 1
            self._note(code, "it refused a message")
            self._changed.notify_all()

    def _on_disconnect(
        self, client: Any, data: Any, flags: Any, code: ReasonCode, more: Any
    ) -> None:
        with self._changed:
            if flags.is_disconnect_packet_from_server:
                self._note(code, "it ended the connection")
            if self._fault is None and self._accepted:
                self._fault = Reason.END_OF_STREAM, "the connection was lost"
            elif self._fault is None:
                self._fault = Reason.CONNECT_REFUSED, "it hung up; does it speak MQTT 5?"
            self._changed.notify_all()

    def _note(self, code: ReasonCode, what: str) -> None:
        """Keep the first fault: later ones are its consequences."""
        if code.is_failure and self._fault is None:
            if code.value in _NOT_LET_IN:
                reason = Reason.AUTH_FAILED
            else:
                reason = Reason.END_OF_STREAM if self._accepted else Reason.CONNECT_REFUSED
            self._fault = reason, f"{what} ({code.getName().lower()})"


class _Socket(ssl.SSLSocket):
    """Closes itself where TLS fails: the library leaves that to garbage collection."""

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise


def _meaning(error: Exception, timeout_s: float) -> tuple[Reason, str]:
    match error:
        case UnicodeError() | socket.gaierror():
            return Reason.NOT_FOUND, "the host's name is not known"
        case ssl.SSLCertVerificationError():
            return Reason.TLS, (
                f"its certificate is not trusted ({error.verify_message}); "
                "tls_verify = false takes any"
            )
        case TimeoutError():
            return Reason.TIMEOUT, f"no answer within {timeout_s:g} s"
        case ssl.SSLError() | ConnectionResetError():  # as from a port that expects no TLS
            return Reason.TLS, "TLS failed; is none spoken at this port?"
        case ConnectionRefusedError():
            return Reason.CONNECT_REFUSED, "the connection was refused"
        case _:
            return Reason.CONNECT_REFUSED, plain(error)
