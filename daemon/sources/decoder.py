"""Decoding by a graphics card, where PyAV can use one; probed with H.264 before it is used."""

from __future__ import annotations

import logging
from fractions import Fraction

import av
from av.codec.hwaccel import HWAccel, hwdevices_available
from av.video.codeccontext import VideoCodecContext

from daemon.probes import ProbeCache

log = logging.getLogger("affectd.source")

DEVICES = ("cuda", "vaapi")
_PROBE_PX = 256
_PROBE_FRAMES = 4


def accelerator(decoder: str) -> HWAccel | None:
    """The `hwaccel` argument of av.open for `decoder`, which is "software", "auto", or one of
    `DEVICES`; None for software, or where no such device works. The processor still decodes the
    codecs that the device does not support."""
    if decoder == "software":
        return None
    for device in DEVICES if decoder == "auto" else (decoder,):
        if works(device):
            return HWAccel(device_type=device, allow_software_fallback=True)
    if decoder != "auto":  # It worked at the start (preflight.py): its driver went away since.
        log.warning("decoder %s works no more; the processor decodes instead", decoder)
    return None


def tell_of_fallback(stream: str, decoder: str, context: av.CodecContext) -> None:
    """Log a warning if the device that `decoder` names works, but not with this codec."""
    if decoder in DEVICES and works(decoder) and not context.is_hwaccel:
        log.warning(
            "stream %s: %s does not decode %s; the processor does instead",
            stream,
            decoder,
            context.name,
        )


def working() -> list[str]:
    """Those of `DEVICES` that work here, best first."""
    return [device for device in DEVICES if works(device)]


def works(device: str) -> bool:
    """Whether `device` decodes H.264 here, as `ProbeCache` remembers it; probed anew after
    `doubt`."""
    return _probes(device)


def doubt() -> None:
    """Call this after a failure that a device may have caused: each is probed again before use."""
    _probes.forget()


def _passes_probe(device: str) -> bool:
    if device not in hwdevices_available():
        return False
    try:
        accelerated = HWAccel(device_type=device, allow_software_fallback=False)
        decoder = av.CodecContext.create("h264", "r", hwaccel=accelerated)
        if not decoder.is_hwaccel:
            return False
        images = [image for packet in _clip() for image in decoder.decode(packet)]
        images += decoder.decode(None)
    except (av.FFmpegError, ValueError, RuntimeError) as error:
        log.debug("decoder %s does not work here: %s", device, type(error).__name__)
        return False
    return len(images) == _PROBE_FRAMES


_probes = ProbeCache(_passes_probe)


def _clip() -> list[av.Packet]:
    encoder = VideoCodecContext.create("libx264", "w")
    encoder.width = encoder.height = _PROBE_PX
    encoder.pix_fmt, encoder.time_base = "yuv420p", Fraction(1, 25)
    encoder.options = {"preset": "ultrafast", "tune": "zerolatency"}
    packets: list[av.Packet] = []
    for number in range(_PROBE_FRAMES):
        image = av.VideoFrame(_PROBE_PX, _PROBE_PX, "yuv420p")
        for plane in image.planes:
            plane.update(bytes([128]) * plane.buffer_size)
        image.pts = number
        packets += encoder.encode(image)
    return packets + encoder.encode(None)
