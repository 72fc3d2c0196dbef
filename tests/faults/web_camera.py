"""A camera that sends an MPEG transport stream over HTTP, with sound, and can lose its picture."""

from __future__ import annotations

import contextlib
import threading
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase

import av
import numpy as np

FPS = 25
TS_PACKET = 188
TRANSPORT_ERROR = 0x80  # in the second byte of a packet
PAGE = b"<html><title>Camera</title>Please log in</html>" * 50
SOUND_HZ = 48_000
SOUND_FRAME = 1152  # samples in a frame of MPEG sound


class _Radio:
    """A file on the way to which packets can be damaged."""

    def __init__(self, file: BufferedIOBase, camera: WebCamera) -> None:
        self._file, self._camera = file, camera
        self._sent = 0

    def write(self, data: bytes) -> int:
        packets = bytearray(data)
        if self._camera.noisy:
            for begin in range(-self._sent % TS_PACKET, len(packets) - 1, TS_PACKET):
                packets[begin + 1] |= TRANSPORT_ERROR
        self._sent += len(packets)
        self._file.write(packets)
        return len(packets)


class WebCamera:
    """/live, within a `with` block, with a picture while `video_on`; and /page, which is text.

    While `noisy`, every packet is marked as one that arrived damaged (ISO 13818-1, 2.4.3.3).
    """

    def __init__(self) -> None:
        self.video_on = True
        self.noisy = False
        self._stop = threading.Event()
        camera = self

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                if self.path == "/live":
                    self.send_header("Content-Type", "video/mp2t")
                    self.end_headers()
                    with contextlib.suppress(OSError, av.FFmpegError):
                        camera.send(self.wfile)
                else:
                    self.send_header("Content-Type", "text/html")
                    self.send_header("Content-Length", str(len(PAGE)))
                    self.end_headers()
                    self.wfile.write(PAGE)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="web camera")

    def send(self, file: BufferedIOBase) -> None:
        """Mux picture and sound as time passes, until somebody stops reading."""
        with av.open(
            _Radio(file, self), "w", format="mpegts", options={"flush_packets": "1"}
        ) as container:
            video = container.add_stream("libx264", rate=FPS)
            video.width, video.height, video.pix_fmt = 160, 120, "yuv420p"
            video.options = {"preset": "ultrafast", "tune": "zerolatency", "g": "5"}
            sound = container.add_stream("mp2", rate=SOUND_HZ)
            sound.layout = "mono"
            rgb = np.zeros((120, 160, 3), np.uint8)
            samples, index = 0, 0
            while not self._stop.wait(1 / FPS):
                rgb[:] = (np.arange(160)[None, :, None] + index * 3) % 256
                if self.video_on:
                    image = av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(format="yuv420p")
                    image.pts, image.time_base = index, Fraction(1, FPS)
                    container.mux(video.encode(image))
                while samples < SOUND_HZ * index / FPS:
                    silence = av.AudioFrame.from_ndarray(
                        np.zeros((1, SOUND_FRAME), np.int16), "s16", "mono"
                    )
                    silence.sample_rate = SOUND_HZ
                    silence.pts, silence.time_base = samples, Fraction(1, SOUND_HZ)
                    container.mux(sound.encode(silence))
                    samples += SOUND_FRAME
                index += 1

    def __enter__(self) -> WebCamera:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5.0)
