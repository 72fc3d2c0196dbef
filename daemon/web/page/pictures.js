// The live pictures of all streams, read from one connection: a browser opens at most six to a
// host, so that an <img> for each of sixteen streams would leave none for the states.

const RETRY_MS = 2000;
export const STALE_MS = 5000; // A picture that was shown longer ago than this is not live.

export class Pictures {
  // `show(name, blob)` gets every picture that comes from `url`.
  constructor(show, url = "/api/pictures") {
    this.show = show;
    this.url = url;
    this.names = "";
    this.refused = ""; // why no pictures are sent
    this.connection = null;
    document.addEventListener("visibilitychange", () => this.reopen());
  }

  // Which streams have pictures; opens the connection again when that changed.
  want(names) {
    const joined = names.join();
    if (joined === this.names) return;
    this.names = joined;
    this.reopen();
  }

  reopen() {
    this.connection?.abort();
    this.connection = null;
    this.refused = "";
    if (!this.names || document.hidden) return;
    this.connection = new AbortController();
    this.keepReading(this.connection.signal);
  }

  async keepReading(signal) {
    while (!signal.aborted) {
      try {
        await this.readOnce(signal);
      } catch {
        // The server went away, or this was aborted; the states show it, and the loop tries again.
      }
      if (!signal.aborted) await new Promise((done) => setTimeout(done, RETRY_MS));
    }
  }

  async readOnce(signal) {
    const response = await fetch(this.url, { signal, cache: "no-store" });
    this.refused = response.ok ? "" : ((await response.json()).error ?? "");
    if (!response.ok) return;
    const bytes = new Bytes(response.body.getReader());
    for (;;) {
      const [name, length] = (await bytes.line()).split(" ");
      this.show(name, new Blob([await bytes.take(Number(length))], { type: "image/jpeg" }));
    }
  }
}

// Reads lines, and blocks of known length, from a stream of chunks.
class Bytes {
  constructor(reader) {
    this.reader = reader;
    this.rest = new Uint8Array(0);
  }

  async more() {
    const { value, done } = await this.reader.read();
    if (done) throw new Error("the connection ended");
    const joined = new Uint8Array(this.rest.length + value.length);
    joined.set(this.rest);
    joined.set(value, this.rest.length);
    this.rest = joined;
  }

  async take(length) {
    while (this.rest.length < length) await this.more();
    const taken = this.rest.slice(0, length);
    this.rest = this.rest.subarray(length);
    return taken;
  }

  async line() {
    let end = this.rest.indexOf(10);
    while (end < 0) {
      await this.more();
      end = this.rest.indexOf(10);
    }
    const text = new TextDecoder().decode(await this.take(end + 1));
    return text.trimEnd();
  }
}

// Shows the newest picture in an <img>; those that come while one is being decoded are skipped.
export class Screen {
  constructor(image) {
    this.image = image;
    this.next = null;
    this.isBusy = false;
    this.shownAt = -Infinity;
    image.addEventListener("load", () => this.done(true));
    image.addEventListener("error", () => this.done(false));
  }

  show(blob) {
    this.next = blob;
    if (!this.isBusy) this.decode();
  }

  decode() {
    this.isBusy = true;
    this.url = URL.createObjectURL(this.next);
    this.next = null;
    this.image.src = this.url;
  }

  done(isGood) {
    URL.revokeObjectURL(this.url);
    this.isBusy = false;
    if (isGood) this.shownAt = performance.now();
    if (this.next) this.decode();
  }
}
