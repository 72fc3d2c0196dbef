"""What libav is told about a source, beside its URL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from daemon.remote import tls_options
from daemon.url import is_url

_TLS = ("https:", "rtsps:")
# PyAV hands out no track that appears later, and while nothing else comes it gives no sign of life.
# So the video of a transport stream, by HLS too, has to stay in its track when its PID changes.
_ONE_TRACK = {"merge_pmt_versions": "1", "seg_format_options": "merge_pmt_versions=1"}
# A picture's name is no pattern. And a file whose time steps back was joined, where libav sees its
# 33 bits run over, 26 hours on; where they do, `Timeline` goes on just as well.
_OF_A_FILE = {"pattern_type": "none", "correct_ts_overflow": "0"}


@dataclass(frozen=True, slots=True)
class Network:
    """How a source on the network is reached. Over UDP, pictures whose parts are lost are damaged;
    `tls_verify` refuses a certificate that the system does not trust."""

    transport: Literal["tcp", "udp"] = "tcp"
    tls_verify: bool = True

    def options(self, target: str, limit_s: float) -> dict[str, str]:
        """libav's options for `target`. `limit_s` bounds each read on the network, of opening too,
        which PyAV's own time-out may bound more narrowly."""
        if not is_url(target):
            return _ONE_TRACK | _OF_A_FILE
        options = _ONE_TRACK | {"timeout": str(int(limit_s * 1e6))}
        if target.startswith("rtsp"):
            options |= {"rtsp_transport": self.transport, "allowed_media_types": "video"}
        if target.startswith(_TLS):
            options |= tls_options(self.tls_verify)
        return options


BY_TCP = Network()
