"""How far HLS is behind: a clock is drawn into the pictures and read from the screen of a browser.

    .venv/bin/python -m tests.bench.hls_latency [--seconds 30] [--size 1280x720]

Pictures at 25 a second go through the hls sink, the web server and the page in Chromium, on this
machine. Printed is the age of what the page shows, from the moment a picture reaches the sink.
"""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from pathlib import Path

import av

from daemon.config.sink_settings import HlsSinkSettings
from daemon.frame import Frame, plane
from daemon.sinks.base import Output
from daemon.sinks.hls import HlsSegments
from daemon.sinks.playlist import Playlist
from tests.bench.parts.arguments import parser_of
from tests.browser import open_browser
from tests.daemon.outputs import Encoded
from tests.serving import serving

FPS = 25
BITS = 24  # of a clock in hundredths of a second

_READ_CLOCK = f"""
(() => {{
  const video = document.querySelector("video.live");
  if (video.hidden || video.readyState < 2) return null;
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [{BITS}, 1];
  const context = canvas.getContext("2d");
  const bar = video.videoHeight * 0.95;
  context.imageSmoothingEnabled = false;
  context.drawImage(video, 0, bar, video.videoWidth, 1, 0, 0, {BITS}, 1);
  const pixels = context.getImageData(0, 0, {BITS}, 1).data;
  let ticks = 0;
  for (let bit = 0; bit < {BITS}; bit++) if (pixels[4 * bit] > 128) ticks += 2 ** bit;
  return (Math.floor(Date.now() / 10) % 2 ** {BITS} - ticks) / 100;
}})()
"""


def clock_picture(width: int, height: int, now_s: float) -> av.VideoFrame:
    """A grey picture whose lowest tenth is the time as black and white bars, lowest bit first."""
    image = av.VideoFrame(width, height, "yuv420p")
    luma = plane(image, 0)
    luma[:] = 110
    plane(image, 1)[:] = plane(image, 2)[:] = 128
    ticks = int(now_s * 100) % (1 << BITS)
    for bit in range(BITS):
        left, right = (width * n // BITS for n in (bit, bit + 1))
        luma[height * 9 // 10 :, left:right] = 235 if ticks >> bit & 1 else 16
    return image


def feed(sink: Encoded, width: int, height: int, stop: threading.Event) -> None:
    began_s, seq = time.time(), 0
    while not stop.wait(max(0.0, began_s + seq / FPS - time.time())):
        now_s = time.time()
        frame = Frame("lobby", seq, now_s - began_s, now_s, clock_picture(width, height, now_s))
        sink.write(Output(frame, ()))
        seq += 1


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--size", default="1280x720")
    parser.add_argument("--screenshot", type=Path)
    args = parser.parse_args()
    width, height = map(int, args.size.split("x"))
    stop, ages_s = threading.Event(), []
    with (
        tempfile.TemporaryDirectory() as profile,
        serving("lobby") as house,
        open_browser(Path(profile)) as browser,
        browser.page() as page,
    ):
        del house.feeds["lobby"]
        house.rows["lobby"].set_state("live")
        config = HlsSinkSettings(kind="hls")
        playlist = house.playlists.setdefault("lobby", Playlist())
        sink = Encoded(config, HlsSegments(config, playlist))
        thread = threading.Thread(target=feed, args=(sink, width, height, stop), name="feed")
        thread.start()
        try:
            page.open(house.web.url)
            page.wait_for("document.querySelector('video.live')?.currentTime > 3", 60.0)
            for _ in range(2 * args.seconds):
                time.sleep(0.5)
                ages_s.append(page.evaluate(_READ_CLOCK))
            if args.screenshot:
                page.screenshot(args.screenshot)
        finally:
            stop.set()
            thread.join()
            sink.close()
    seen_s = sorted(age_s for age_s in ages_s if age_s is not None)
    print(
        f"hls, {args.size} at {FPS} fps, {len(ages_s)} looks in {args.seconds} s, "
        f"{len(ages_s) - len(seen_s)} without a picture: "
        f"{statistics.median(seen_s):.1f} s behind (median), {seen_s[0]:.1f} to {seen_s[-1]:.1f} s"
    )


if __name__ == "__main__":
    main()
