// Plays a stream's HLS in a <video>, a few seconds behind: segments are appended as they come. A
// browser without Media Source Extensions (iPhones) gets the playlist, again after each failure.

const RETRY_MS = 2000;
const POLL_MS = 400;
const TIMEOUT_MS = 10000;
const SEGMENT_TIMEOUT_MS = 20000; // up to ten seconds of video, over a slow line
const START_SEGMENTS = 2; // how many of the newest segments are fetched at first
const HURRY_S = 2.5; // further behind the newest picture than this it plays faster ...
const HURRY_RATE = 1.1;
const LEAP_S = 4; // ... and further than this it leaps ahead
const LEAP_TO_S = 1.5;
const KEEP_S = 10;

export class Video {
  // `tell(text)` gets the reason why there is no picture, and "" whenever there is one.
  constructor(element, url, tell) {
    this.element = element;
    this.url = url;
    this.tell = tell;
    this.work = null;
    this.shownAt = -Infinity;
    this.life = new AbortController();
    const { signal } = this.life;
    element.addEventListener("timeupdate", () => this.goesOn(), { signal });
    document.addEventListener("visibilitychange", () => this.reopen(), { signal });
    this.reopen();
  }

  goesOn() {
    this.shownAt = performance.now();
    this.tell("");
  }

  // Ends for good.
  close() {
    this.url = null;
    this.life.abort();
    this.reopen();
  }

  reopen() {
    if (this.work && !globalThis.MediaSource) this.unload();
    this.work?.abort();
    this.work = null;
    if (!this.url || document.hidden) return;
    this.work = new AbortController();
    this.keepPlaying(this.work.signal);
  }

  async keepPlaying(signal) {
    while (!signal.aborted) {
      try {
        await this.playOnce(signal);
      } catch {
        // The server went away, or a segment was late; the next try begins with the newest.
      }
      if (!signal.aborted) await pause(RETRY_MS);
    }
  }

  // The browser's own player goes on loading until its address is taken away.
  unload() {
    this.element.removeAttribute("src");
    this.element.load();
  }

  async playOnce(signal) {
    if (!globalThis.MediaSource) {
      await this.segments(signal); // Finds out what is wrong: the browser's player does not say.
      // After an error that player does not load the same address again unless it is set.
      if (this.element.error || !this.element.hasAttribute("src")) this.element.src = this.url;
      await this.begin();
      return;
    }
    const source = new MediaSource();
    const address = URL.createObjectURL(source);
    this.element.src = address;
    try {
      await happened(source, "sourceopen", signal);
      await this.feed(source, signal);
    } finally {
      URL.revokeObjectURL(address); // src stays: it may be that of another try by now.
    }
  }

  async feed(source, signal) {
    let buffer = null;
    let map = null;
    let last = null;
    for (;;) {
      const all = await this.segments(signal);
      const news = last === null ? all.slice(-START_SEGMENTS) : all.filter((s) => s.number > last);
      // The server started again with smaller numbers.
      if (all.length && last > all.at(-1).number) throw new Error("the playlist went back");
      for (const segment of news) {
        if (segment.map !== map) {
          const header = await bytes(segment.map, signal);
          const type = `video/mp4; codecs="${codec(header)}"`;
          if (!MediaSource.isTypeSupported(type)) {
            this.tell("This browser cannot play H.264");
            this.work.abort(); // Each further request would have it encoded for nobody.
            return;
          }
          if (buffer) buffer.changeType(type);
          else buffer = source.addSourceBuffer(type);
          // Append segments back to back, whatever their timestamps: a missed one leaves no gap.
          buffer.mode = "sequence";
          await append(buffer, header, signal);
          map = segment.map;
        }
        await append(buffer, await bytes(segment.uri, signal), signal);
        last = segment.number;
        await this.follow(buffer, signal);
      }
      await pause(POLL_MS);
      signal.throwIfAborted();
    }
  }

  // The segments in the playlist; none while it has not begun: `?wait=0` is answered at once.
  async segments(signal) {
    try {
      const all = parse(await text(`${this.url}?wait=0`, signal), new URL(this.url, location));
      if (!all.length) this.tell("Waiting for a picture");
      return all;
    } catch (error) {
      if (!signal.aborted) this.tell(error.message);
      throw error;
    }
  }

  // Starts playing. Where the browser forbids autoplay, shows the controls until they are used.
  async begin() {
    const video = this.element;
    if (!video.paused) return;
    if (!video.controls) {
      try {
        await video.play();
        return;
      } catch (error) {
        if (error.name !== "NotAllowedError") throw error;
        video.controls = true;
        video.addEventListener("play", () => (video.controls = false), { once: true });
      }
    }
    this.tell(""); // It would lie over the button.
  }

  // Stays near the newest picture, and removes old ones from the buffer.
  async follow(buffer, signal) {
    const { buffered } = buffer;
    if (!buffered.length) return;
    const video = this.element;
    const end = buffered.end(buffered.length - 1);
    const inside = video.currentTime >= buffered.start(0) && video.currentTime <= end;
    if (!inside || end - video.currentTime > LEAP_S) {
      video.currentTime = Math.max(buffered.start(0), end - LEAP_TO_S);
    }
    video.playbackRate = end - video.currentTime > HURRY_S ? HURRY_RATE : 1;
    await this.begin();
    if (video.currentTime - buffered.start(0) > 2 * KEEP_S) {
      buffer.remove(0, video.currentTime - KEEP_S);
      await happened(buffer, "updateend", signal);
    }
  }
}

// The segments of a playlist at `base`: {number, uri, map}.
function parse(playlist, base) {
  const segments = [];
  let number = 0;
  let map = null;
  for (const line of playlist.split("\n")) {
    if (line.startsWith("#EXT-X-MEDIA-SEQUENCE:")) number = Number(line.split(":")[1]);
    else if (line.startsWith("#EXT-X-MAP:")) map = href(line.match(/URI="([^"]*)"/)[1], base);
    else if (line && !line.startsWith("#")) {
      segments.push({ number: number++, uri: href(line, base), map });
    }
  }
  return segments;
}

function href(uri, base) {
  return new URL(uri, base).href;
}

// The H.264 codec string (profile, constraints and level) from the avcC box of a header.
function codec(header) {
  const name = [0x61, 0x76, 0x63, 0x43];
  const at = header.findIndex((_, index) => name.every((byte, n) => header[index + n] === byte));
  if (at < 0) throw new Error("no H.264 in it");
  const hex = [...header.slice(at + 5, at + 8)].map((byte) => byte.toString(16).padStart(2, "0"));
  return `avc1.${hex.join("")}`;
}

async function append(buffer, data, signal) {
  buffer.appendBuffer(data);
  await happened(buffer, "updateend", signal);
}

// Waits for an event; rejects at an error or an abort. Removes all its listeners afterwards.
async function happened(target, name, signal) {
  signal.throwIfAborted();
  const over = new AbortController();
  const until = { signal: over.signal };
  try {
    await new Promise((done, failed) => {
      target.addEventListener(name, done, until);
      target.addEventListener("error", () => failed(new Error("not playable")), until);
      signal.addEventListener("abort", () => failed(signal.reason), until);
    });
  } finally {
    over.abort();
  }
}

async function get(url, signal, limit = TIMEOUT_MS) {
  // A dead connection does not always say so. (Safari has `any` from 17.4 on.)
  const soon = AbortSignal.any?.([signal, AbortSignal.timeout(limit)]) ?? signal;
  const response = await fetch(url, { signal: soon }).catch(() => null);
  if (response?.ok) return response;
  const answer = await response?.json().catch(() => null);
  throw new Error(answer?.error ?? "affectd does not answer");
}

async function text(url, signal) {
  return (await get(url, signal)).text();
}

async function bytes(url, signal) {
  return new Uint8Array(await (await get(url, signal, SEGMENT_TIMEOUT_MS)).arrayBuffer());
}

function pause(ms) {
  return new Promise((done) => setTimeout(done, ms));
}
