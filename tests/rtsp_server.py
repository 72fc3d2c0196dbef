"""An RTSP server on 127.0.0.1 for tests, run by the system's Python (which has GStreamer).

    /usr/bin/python3 tests/rtsp_server.py [--user U --password P] [--digest] [--port N] [--record]

Serves /cam, a moving ball as H.264 over RTP. With --record it takes what is published at /in
instead and serves it at /out. Prints `PORT n` when it listens, and `TEARDOWN` for each client that
takes leave.
Debian packages: python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base
gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly.
"""
# ruff: noqa: T201, E402

from __future__ import annotations

import argparse
import socket
from typing import Any

import gi  # type: ignore[import-not-found, unused-ignore]

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import (  # type: ignore[import-not-found, unused-ignore]
    Gio,
    GLib,
    Gst,
    GstRtsp,
    GstRtspServer,
)

ENCODE = (
    "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=10 ! rtph264pay name=pay0 pt=96"
)
PICTURE = (
    "videotestsrc is-live=true pattern=ball ! video/x-raw,format=I420,width={width},"
    "height={height},framerate={fps}/1"
)

RTP = "application/x-rtp,media=video,encoding-name=H264,clock-rate=90000,payload=96"
PAY = "h264parse config-interval=-1 ! rtph264pay pt=96"
TAKE = f"rtph264depay name=depay0 ! {PAY} ! udpsink host=127.0.0.1 port={{port}} sync=false"
GIVE = f"udpsrc address=127.0.0.1 port={{port}} caps={RTP} ! rtph264depay ! {PAY} name=pay0"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--user")
    parser.add_argument("--password", default="")
    parser.add_argument("--digest", action="store_true")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--frames", type=int, default=-1, help="end the stream after so many")
    parser.add_argument("--record", action="store_true", help="take what others publish")
    parser.add_argument("--silent", action="store_true", help="accept, and never send a picture")
    parser.add_argument("--only", choices=["TCP", "UDP"], help="what it sends over")
    parser.add_argument("--size", default="320x240")
    parser.add_argument("--fps", type=int, default=25)
    # The server may abort when readers come to one encoder at the same time.
    parser.add_argument("--unshared", action="store_true", help="an encoder for each reader")
    parser.add_argument("--tls", nargs=2, metavar=("CERTIFICATE", "KEY"), help="with --user")
    args = parser.parse_args()
    Gst.init(None)
    server = GstRtspServer.RTSPServer.new()
    server.set_address("127.0.0.1")
    server.set_service(str(args.port))
    # While a reader of /out waits for its first picture, another thread takes what comes to /in.
    server.get_thread_pool().set_max_threads(4)
    mounts = server.get_mount_points()
    factories = []
    if args.record:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        factory = GstRtspServer.RTSPMediaFactory.new()
        factory.set_launch(f"( {TAKE.format(port=port)} )")
        factory.set_transport_mode(GstRtspServer.RTSPTransportMode.RECORD)
        factory.set_latency(200)
        factories.append(factory)
        mounts.add_factory("/in", factory)
        given = GstRtspServer.RTSPMediaFactory.new()
        given.set_launch(f"( {GIVE.format(port=port)} )")
        given.set_shared(True)
        factories.append(given)
        mounts.add_factory("/out", given)
    else:
        factories.append(camera(args))
        mounts.add_factory("/cam", factories[0])
    if args.user is not None:
        auth = protect(factories, args.user, args.password, args.digest)
        if args.tls:
            auth.set_tls_certificate(Gio.TlsCertificate.new_from_files(*args.tls))
        server.set_auth(auth)
    server.connect("client-connected", watch)
    if server.attach(None) == 0:
        raise SystemExit(f"cannot listen on port {args.port}")
    print("PORT", server.get_bound_port(), flush=True)
    GLib.MainLoop().run()


def watch(server: Any, client: Any) -> None:
    client.connect("teardown-request", lambda *_: print("TEARDOWN", flush=True))


def camera(args: argparse.Namespace) -> Any:
    """What serves the ball."""
    width, height = args.size.split("x")
    picture = PICTURE.format(width=width, height=height, fps=args.fps)
    if args.frames >= 0:
        picture = picture.replace("pattern", f"num-buffers={args.frames} pattern")
    if args.silent:
        picture += " ! valve drop=true"
    factory = GstRtspServer.RTSPMediaFactory.new()
    factory.set_launch(f"( {picture} ! {ENCODE} )")
    factory.set_shared(not args.unshared)
    if args.only:
        factory.set_protocols(getattr(GstRtsp.RTSPLowerTrans, args.only))
    return factory


def protect(factories: list[Any], user: str, password: str, digest: bool) -> Any:
    """Let in nobody but `user`."""
    auth = GstRtspServer.RTSPAuth.new()
    token = GstRtspServer.RTSPToken()
    token.set_string(GstRtspServer.RTSP_TOKEN_MEDIA_FACTORY_ROLE, "viewer")
    if digest:
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
        auth.add_digest(user, password, token)
    else:
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    roles = GstRtspServer.RTSPPermissions()
    roles.add_permission_for_role("viewer", GstRtspServer.RTSP_PERM_MEDIA_FACTORY_ACCESS, True)
    roles.add_permission_for_role("viewer", GstRtspServer.RTSP_PERM_MEDIA_FACTORY_CONSTRUCT, True)
    for factory in factories:
        factory.set_permissions(roles)
    return auth


if __name__ == "__main__":
    main()
