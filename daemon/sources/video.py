"""Video files and cameras on the network by libav: every codec and container that PyAV has."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import av

from daemon.errors import Reason, SourceError
from daemon.frame import Frame
from daemon.redact import display_url
from daemon.sources.base import DAMAGED_IN_A_ROW, NO_CALLBACKS, Source, SourceCallbacks
from daemon.sources.catch_up import Arrivals, newest
from daemon.sources.container import Opened, open_container
from daemon.sources.decoder import tell_of_fallback
from daemon.sources.faults import is_timed_out, read_fault, silence
from daemon.sources.network import BY_TCP, Network
from daemon.sources.picture import AS_IT_IS, Orientation, check_size, is_size, to_frame_image
from daemon.sources.tiff import holds_jpeg
from daemon.sources.timeline import Pace, Timeline

log = logging.getLogger("affectd.source")

# An intact packet cancels so many damaged ones, not all: libav sometimes decodes mere noise.
SOUND_UNDOES = 5
DEFAULT_FPS = 25.0
_CUT_TOLERANCE_S = 0.5


class VideoSource(Source):
    """One file or URL, opened by the constructor, read by one thread.

    `live` chooses the policy. A live source is decoded without frame threads, which would hold
    back a frame per core. A source that could be read faster (a file, a segment of HLS) is read at
    the pace of its own timestamps if it is live, like a camera. Where decoding cannot keep up with
    a camera, packets are skipped up to a keyframe. `loop` starts a file again at its end; media
    time goes on. `orientation` is applied to each picture.

    A damaged packet or picture is dropped and reported to `callbacks`; `DAMAGED_IN_A_ROW` of them
    raise SourceError(DECODE_ERROR), where an intact one cancels `SOUND_UNDOES`. `cut` is set when
    a file ends before the length in its header. `damaged` counts what was dropped.

    Raises SourceError, whose message names the source without its password.
    """

    def __init__(
        self,
        stream: str,
        url: str,
        *,
        live: bool,
        stop: threading.Event,
        loop: bool = False,
        stall_timeout_s: float = 10.0,
        network: Network = BY_TCP,
        decoder: str = "software",
        orientation: Orientation = AS_IT_IS,
        callbacks: SourceCallbacks = NO_CALLBACKS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(stop)
        self._live = live
        self.damaged = 0
        self._name = stream
        self._loop = loop
        self._network, self._decoder, self._orientation = network, decoder, orientation
        self._stall_timeout_s = stall_timeout_s
        self._callbacks = callbacks
        self._monotonic = monotonic
        self._url, self._shown = url, display_url(url)
        self._behind_s = 0.0
        self._has_pictures = False  # Once True, an impossible size counts as damage.
        self._opened = self._open()
        self.container, self.audio_start_s = self._opened.kind, self._opened.audio_start_s
        self.codec, self.fps = self._opened.codec, self._opened.fps
        tell_of_fallback(stream, decoder, self._opened.video.codec_context)

    def _frames(self) -> Iterator[Frame]:
        rate = self._opened.video.average_rate or self._opened.video.guessed_rate
        timeline = Timeline(1.0 / float(rate) if rate else 1.0 / DEFAULT_FPS)
        by_arrival = self._live and not self._opened.is_file
        pace = None
        if self._live and self._opened.lies_ready:
            pace = Pace(self._stall_timeout_s, makes_up=by_arrival)
        seq = 0
        while not self._ending():
            before = seq
            arrivals = Arrivals(self._packets(), self._monotonic)
            for image in self._images(arrivals):
                if seq == 0 and not self._opened.is_untimed:
                    self.first_picture_s = self._time(image)
                pts_s = timeline.place(self._time(image), self._monotonic() if by_arrival else None)
                self._check_time(timeline)
                if pace is not None:
                    self._stop.wait(pace.wait_s(pts_s, self._monotonic()))
                    self._callbacks.on_behind(pace.owed_s)
                elif by_arrival:
                    self._behind_s = arrivals.behind_s(timeline.delay_s())
                    self._callbacks.on_behind(self._behind_s)
                if self._ending():
                    return
                yield Frame(self._name, seq, pts_s, time.time(), image)
                seq += 1
            if self._ending():
                return
            if seq == before:
                if not by_arrival or self.damaged:
                    raise SourceError(
                        Reason.DECODE_ERROR, f"{self._shown}: holds no picture that can be decoded"
                    )
                raise SourceError(
                    Reason.END_OF_STREAM, f"{self._shown}: ended before its first picture"
                )
            if by_arrival or not self._loop:
                return
            timeline.restart()
            self._opened.container.close()
            self._opened = self._open()

    def _free(self) -> None:
        self._opened.container.close()

    def _time(self, image: av.VideoFrame) -> float | None:
        return self._monotonic() if self._opened.is_untimed else image.time

    def _images(self, arrivals: Arrivals) -> Iterator[av.VideoFrame]:
        """Decode once from here to the end. Yields pictures as a Frame wants them."""
        in_a_row = 0
        end_s = 0.0
        last_s = self._monotonic()
        video_index = self._opened.video.index
        for packet in newest(
            arrivals,
            video_index,
            behind_s=lambda: self._behind_s,
            leave_out=self._leave_out,
        ):
            if self._ending():
                return
            if packet.pts is not None and packet.time_base:
                length = packet.duration or 0
                end_s = max(end_s, float((packet.pts + length) * packet.time_base))
            images: list[av.VideoFrame] | None = []
            # Sound is read and dropped, so that it cannot hide that the video stands still.
            if packet.stream.index == video_index:
                images = self._decode(packet)
            if images is None:
                self._drop()
                in_a_row += 1
                if in_a_row >= DAMAGED_IN_A_ROW:
                    raise SourceError(
                        Reason.DECODE_ERROR,
                        f"{self._shown}: {in_a_row} packets were damaged and hardly one was not",
                    )
            elif images:
                in_a_row = max(0, in_a_row - SOUND_UNDOES)
                yield from images
                last_s = self._monotonic()
            if self._live and self._monotonic() - last_s > self._stall_timeout_s:
                raise SourceError(
                    Reason.STALLED, f"{self._shown}: no picture for {self._stall_timeout_s:g} s"
                )
        self._look_for_cut(end_s)

    def _packets(self) -> Iterator[av.Packet]:
        limit_s = self._stall_timeout_s if self._live and not self._opened.is_file else math.inf
        began_s = self._monotonic()
        try:
            # Closing demux() resets PyAV's time-out, which would keep libav from sending TEARDOWN.
            with closing(self._opened.container.demux()) as packets:
                for packet in packets:
                    # At its time-out libav first yields what its parser held back.
                    if is_timed_out(self._monotonic() - began_s, limit_s):
                        raise silence(self._shown, limit_s)
                    yield packet
                    began_s = self._monotonic()
        except av.error.FFmpegError as error:
            raise read_fault(self._shown, error, self._stall_timeout_s) from error
        except IndexError:
            pass  # PyAV raises it at the end if a track appeared late; ours is flushed by then.

    def _decode(self, packet: av.Packet) -> list[av.VideoFrame] | None:
        """The pictures that `packet` completes; None if it is damaged."""
        began_s = time.perf_counter()
        if packet.is_corrupt:
            return None
        if self._opened.is_tiff and holds_jpeg(bytes(packet)):
            raise SourceError(
                Reason.UNSUPPORTED,
                f"{self._shown}: is a TIFF compressed as JPEG; accepted are LZW, Deflate, "
                "PackBits, CCITT and none",
            )
        try:
            decoded = packet.decode()
        except av.error.EOFError:
            return []
        except av.error.FFmpegError:
            return None
        images = []
        for image in decoded:
            if image.is_corrupt or (self._has_pictures and not is_size(image.width, image.height)):
                if len(decoded) > 1:
                    self._drop()
                continue
            check_size(self._shown, image.width, image.height)
            if self._opened.goes_by_dts:
                image.pts = image.dts
            images.append(to_frame_image(image, self._opened.pixel, self._orientation))
            self._has_pictures = True
        for _ in images:
            self._callbacks.on_decoded((time.perf_counter() - began_s) / len(images))
        return images if images or not decoded else None

    def _drop(self) -> None:
        self.damaged += 1
        self._callbacks.on_damaged()

    def _leave_out(self, pictures: int) -> None:
        """Make the decoder start at the keyframe, as after opening: else pictures that refer to the
        skipped ones would be shown broken. `pictures` is the number of those."""
        self._opened.video.codec_context.flush_buffers()
        self._behind_s = 0.0  # Until the next picture is measured, so that one is decoded at all.
        self._callbacks.on_superseded(pictures)

    def _open(self) -> Opened:
        return open_container(
            self._url,
            live=self._live,
            stall_timeout_s=self._stall_timeout_s,
            network=self._network,
            decoder=self._decoder,
            wait=self._stop.wait,
        )

    def _look_for_cut(self, end_s: float) -> None:
        promised_s = self._opened.promised_s
        if promised_s is None or self.cut is not None:
            return
        read_s = end_s - self._opened.start_s
        if read_s < promised_s - _CUT_TOLERANCE_S:
            self.cut = f"{self._shown}: is cut: it ends at {read_s:.1f} s of {promised_s:.1f} s"
            log.warning("stream %s: %s", self._name, self.cut)

    def _check_time(self, timeline: Timeline) -> None:
        if timeline.stood_s() > self._stall_timeout_s:
            raise SourceError(
                Reason.STALLED,
                f"{self._shown}: its timestamps stand still for {self._stall_timeout_s:g} s",
            )
