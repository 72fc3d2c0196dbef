"""An RTSP camera on 127.0.0.1 that does as it is told, run by the system's Python with GStreamer.

    /usr/bin/python3 tests/faults/camera_server.py [--port N] [--size 160x120] [--fps 10] ...

Serves colour bars that scroll. Prints `PORT n` when it listens. Reads orders from its input, one a
line: `freeze on`, `video off`, `size 240x176`, and so back, which outlive the connections, and
`end now`, which ends the stream. Ends when its input does.
The Debian packages are those of tests/rtsp_server.py.
"""
# ruff: noqa: T201, E402

from __future__ import annotations

import argparse
import os
import sys
import threading
from typing import Any

import gi  # type: ignore[import-not-found, unused-ignore]

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import (  # type: ignore[import-not-found, unused-ignore]
    GLib,
    Gst,
    GstRtspServer,
)

CODECS = {
    "h264": "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=10 threads=1"
    " ! rtph264pay name=pay0 pt=96 config-interval=-1",
    "jpeg": "jpegenc ! rtpjpegpay name=pay0 pt=26",
}
SOUND = "audiotestsrc is-live=true ! audio/x-raw,rate=8000,channels=1 ! alawenc ! rtppcmapay pt=8"
SPEED_PX = 2  # that the bars move from frame to frame


class Orders:
    """What the camera was told, and the running pipeline that has to follow."""

    def __init__(self, size: str, fps: int) -> None:
        self._fps = fps
        self._now = {"freeze": "off", "video": "on", "size": size}
        self._lock = threading.Lock()
        self._media: Any = None

    def configure(self, factory: object, media: Any) -> None:
        with self._lock:
            self._media = media.get_element()
            self._apply()

    def listen(self) -> None:
        for line in sys.stdin:
            what, value = line.split()
            with self._lock:
                if what == "end":
                    self._media.send_event(Gst.Event.new_eos())
                    continue
                self._now[what] = value
                if self._media is not None:
                    self._apply()
        os._exit(0)

    def _apply(self) -> None:
        width, height = self._now["size"].split("x")
        caps = f"video/x-raw,format=I420,width={width},height={height},framerate={self._fps}/1"
        for name, key, value in (
            ("picture", "horizontal-speed", 0 if self._now["freeze"] == "on" else SPEED_PX),
            ("gate", "drop", self._now["video"] == "off"),
            ("size", "caps", Gst.Caps.from_string(caps)),
        ):
            element = self._media.get_by_name(name)
            if element is not None and (key != "caps" or not element.props.caps.is_equal(value)):
                element.set_property(key, value)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--path", default="/cam")
    parser.add_argument("--size", default="160x120")
    parser.add_argument("--fps", type=int, default=10)
    parser.add_argument("--codec", choices=sorted(CODECS), default="h264")
    parser.add_argument("--face", help="an image that stands in the picture")
    parser.add_argument("--sound", choices=("none", "too", "only"), default="none")
    parser.add_argument("--user")
    parser.add_argument("--password", default="")
    args = parser.parse_args()
    Gst.init(None)
    orders = Orders(args.size, args.fps)
    server = GstRtspServer.RTSPServer.new()
    server.set_address("127.0.0.1")
    server.set_service(str(args.port))
    factory = GstRtspServer.RTSPMediaFactory.new()
    factory.set_launch(f"( {launch(args)} )")
    factory.set_shared(True)
    factory.connect("media-configure", orders.configure)
    if args.user is not None:
        protect(server, factory, args.user, args.password)
    server.get_mount_points().add_factory(args.path, factory)
    if server.attach(None) == 0:
        raise SystemExit(f"cannot listen on port {args.port}")
    print("PORT", server.get_bound_port(), flush=True)
    threading.Thread(target=orders.listen, name="orders", daemon=True).start()
    GLib.MainLoop().run()


def launch(args: argparse.Namespace) -> str:
    """The pipeline in GStreamer's own words."""
    width, height = args.size.split("x")
    caps = f"video/x-raw,format=I420,width={width},height={height},framerate={args.fps}/1"
    picture = (
        f"videotestsrc name=picture is-live=true pattern=smpte100"
        f" ! capsfilter name=size caps={caps}"
    )
    if args.face:
        picture += f" ! gdkpixbufoverlay location={args.face} ! video/x-raw,format=I420"
    video = f"{picture} ! valve name=gate ! {CODECS[args.codec]}"
    if args.sound == "none":
        return video
    return f"{SOUND} name=pay0" if args.sound == "only" else f"{video} {SOUND} name=pay1"


def protect(server: Any, factory: Any, user: str, password: str) -> None:
    """Let in nobody but `user`."""
    auth = GstRtspServer.RTSPAuth.new()
    token = GstRtspServer.RTSPToken()
    token.set_string(GstRtspServer.RTSP_TOKEN_MEDIA_FACTORY_ROLE, "viewer")
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    server.set_auth(auth)
    roles = GstRtspServer.RTSPPermissions()
    roles.add_permission_for_role("viewer", GstRtspServer.RTSP_PERM_MEDIA_FACTORY_ACCESS, True)
    roles.add_permission_for_role("viewer", GstRtspServer.RTSP_PERM_MEDIA_FACTORY_CONSTRUCT, True)
    factory.set_permissions(roles)


if __name__ == "__main__":
    main()
