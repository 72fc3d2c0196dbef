"""The options with which libav opens a source."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from daemon.remote import tls_options
from daemon.url import is_url

_TLS = ("https:", "rtsps:", "rtmps:")
# PyAV yields no packets of a track that appears later, and blocks while no others come. So the
# video of a transport stream, also inside HLS, has to stay in its track when its PID changes.
_ONE_TRACK = {"merge_pmt_versions": "1", "seg_format_options": "merge_pmt_versions=1"}
# A picture's file name is no pattern. And where timestamps step back, files were joined, but libav
# takes it for an overflow of their 33 bits and adds 26 hours; `Timeline` handles both cases.
_OF_A_FILE = {"pattern_type": "none", "correct_ts_overflow": "0"}
# Many cameras and servers announce sound in FLV, which RTMP is too, and send none; libav would wait
# 90 s for it.
_FLV = re.compile(r"rtmps?:|.*[./]flv\b")
_PICTURES_SUFFICE = {"analyzeduration": "1000000"}  # in microseconds


@dataclass(frozen=True, slots=True)
class Network:
    """How a source on the network is reached. Over UDP, lost packets damage pictures; `tls_verify`
    refuses a certificate that the system does not trust."""

    transport: Literal["tcp", "udp"] = "tcp"
    tls_verify: bool = True

    def options(self, target: str, limit_s: float) -> dict[str, str]:
        """libav's options for `target`. `limit_s` bounds each network read, also while opening,
        where PyAV's own time-out may be shorter."""
        if not is_url(target):
            return _ONE_TRACK | _OF_A_FILE
        options = dict(_ONE_TRACK)
        if not target.startswith("rtmp"):  # There it would make libav a server.
            options["timeout"] = str(int(limit_s * 1e6))
        if target.startswith("rtsp"):
            options |= {"rtsp_transport": self.transport, "allowed_media_types": "video"}
        elif _FLV.match(target):
            options |= _PICTURES_SUFFICE
        if target.startswith(_TLS):
            options |= tls_options(self.tls_verify)
        return options


BY_TCP = Network()
