// One stream on the page: its picture, state and faces. Text goes in as text, never as markup.

import { STALE_MS, Screen } from "./pictures.js";
import { Video } from "./video.js";
import { STATES, ago, count, duration, moment, percent, reason, setText } from "./words.js";

const MAX_FACES = 6;

function copy(template) {
  return document.getElementById(template).content.firstElementChild.cloneNode(true);
}

export class Card {
  constructor(name) {
    this.name = name;
    this.element = copy("card");
    this.find = (selector) => this.element.querySelector(selector);
    this.image = this.find("img.live");
    this.image.alt = `Live picture of ${name}`;
    this.screen = new Screen(this.image);
    this.image.addEventListener("load", () => this.reveal(this.image));
    this.video = this.find("video.live");
    this.video.setAttribute("aria-label", this.image.alt);
    this.video.addEventListener("playing", () => this.reveal(this.video));
    this.player = null;
    this.told = ""; // why the player shows nothing
    this.faces = new Map();
    this.heading = this.find("h2");
    this.heading.textContent = name;
    this.heading.id = `stream-${name}`;
    this.element.setAttribute("aria-labelledby", this.heading.id);
  }

  show(blob) {
    this.screen.show(blob);
  }

  // Shows the first picture without waiting until the states are fetched again.
  reveal(picture) {
    if (this.element.dataset.state !== "live") return;
    picture.hidden = false;
    this.find(".veil").hidden = true;
  }

  update(stream, colours) {
    this.play(stream.mjpeg ? null : stream.hls);
    const shownAt = stream.mjpeg ? this.screen.shownAt : (this.player?.shownAt ?? -Infinity);
    const waitsForUser = !stream.mjpeg && this.video.controls && this.video.paused;
    const hasPicture = performance.now() - shownAt < STALE_MS || waitsForUser;
    const isLive = stream.state === "live";
    this.element.dataset.state = stream.state;
    setText(this.find(".word"), STATES[stream.state] ?? stream.state);
    this.veil(stream, isLive, hasPicture);
    setText(this.find(".facts"), facts(stream, isLive));
    const error = this.find(".error");
    error.hidden = !stream.last_error;
    const fault = stream.last_error ?? "";
    const isPast = isLive || stream.last_error_ago_s > stream.for_s + 1;
    error.dataset.past = isPast;
    setText(error, isPast ? `Last fault, ${ago(stream.last_error_ago_s)}: ${fault}` : fault);
    this.updateFaces((isLive && stream.faces) || [], colours);
    const nobody = this.find(".nobody");
    nobody.hidden = !isLive || stream.faces?.length > 0;
    setText(nobody, stream.faces ? "No face in view" : "What faces show is only counted");
    this.updateSinks(stream.sinks);
    this.links(stream);
  }

  // Lists all sinks by name; of a failed one also the reason.
  updateSinks(sinks) {
    const text = ({ name, state, reason: why, for_s }) =>
      state === "down" ? `${name} fails: ${reason(why)}, for ${duration(for_s)}` : name;
    const key = sinks.map((sink) => [sink.state, text(sink), sink.last_error].join()).join();
    if (key === this.sinksKey) return;
    this.sinksKey = key;
    const items = sinks.map((sink) => {
      const item = document.createElement("li");
      item.dataset.state = sink.state;
      item.textContent = text(sink);
      if (sink.state === "down" && sink.last_error) {
        const cause = document.createElement("p");
        cause.textContent = sink.last_error;
        item.append(cause);
      }
      return item;
    });
    this.find(".sinks").replaceChildren(...items);
  }

  // MJPEG shows with less delay, so HLS is played only where there is nothing else.
  play(url) {
    if (url === (this.player?.url ?? null)) return;
    this.player?.close();
    this.told = "";
    this.player = url ? new Video(this.video, url, (text) => (this.told = text)) : null;
  }

  // Says in place of the picture why there is none, so that no frozen picture passes for a live one.
  veil(stream, isLive, hasPicture) {
    const isShown = isLive && hasPicture;
    this.image.hidden = !isShown || !stream.mjpeg;
    this.video.hidden = !isShown || !this.player;
    this.find(".veil").hidden = isShown;
    let what = STATES[stream.state] ?? stream.state;
    let why = reason(stream.reason);
    let since = "";
    if (isLive && !stream.mjpeg && !stream.hls) {
      what = "No picture here";
      why = "This stream has no mjpeg and no hls sink";
    } else if (isLive) {
      what = this.told || "Waiting for a picture";
    } else if (stream.state === "down" || stream.state === "stalled") {
      why = `${why ? `${why}. ` : ""}affectd keeps trying.`;
      since = away(stream);
    } else if (stream.state === "ended") {
      why = "Read to its end";
    }
    setText(this.find(".what"), what);
    setText(this.find(".why"), why);
    setText(this.find(".since"), since);
  }

  updateFaces(faces, colours) {
    const list = this.find(".faces");
    const seen = new Set();
    for (const face of faces.slice(0, MAX_FACES)) {
      seen.add(face.track);
      if (!this.faces.has(face.track)) {
        this.faces.set(face.track, new FacePanel(face.track));
        list.append(this.faces.get(face.track).element);
      }
      this.faces.get(face.track).update(face, colours);
    }
    for (const [track, panel] of this.faces) {
      if (seen.has(track)) continue;
      panel.element.remove();
      this.faces.delete(track);
    }
    list.hidden = this.faces.size === 0;
  }

  links(stream) {
    const wanted = [[`/events?stream=${stream.name}`, "Events"]];
    const alone = [`/page/watch.html?stream=${stream.name}`, "Picture alone"];
    if (stream.mjpeg || stream.hls) wanted.unshift(alone);
    const key = wanted.flat().join();
    if (key === this.linksKey) return;
    this.linksKey = key;
    const links = wanted.map(([href, text]) => {
      const link = document.createElement("a");
      link.href = href;
      link.textContent = text;
      link.setAttribute("aria-label", `${text}: ${stream.name}`);
      return link;
    });
    this.find(".links").replaceChildren(...links);
  }
}

function facts(stream, isLive) {
  const parts = [`for ${duration(stream.for_s)}`];
  if (isLive) {
    if (stream.faces) parts.unshift(count(stream.faces.length, "face", "faces"));
    if (stream.faces?.length > MAX_FACES) parts[0] += `, ${MAX_FACES} of them below`;
    parts.unshift(`${stream.fps.toFixed(1)} fps`);
  } else if (stream.frames > 0) {
    parts.push(`${count(stream.frames, "frame", "frames")} until then`);
  }
  return parts.join(" · ");
}

// Since when there is no picture, whatever states the stream has been in meanwhile.
function away({ last_frame_at, last_frame_ago_s, for_s }) {
  if (!last_frame_at) return `No picture yet, for ${duration(for_s)}`;
  return `No picture since ${moment(last_frame_at)}, for ${duration(last_frame_ago_s)}`;
}

class FacePanel {
  constructor(track) {
    this.element = copy("face");
    this.element.querySelector(".track").textContent = `face ${track}`;
    this.bars = new Map();
  }

  update(face, colours) {
    const find = (selector) => this.element.querySelector(selector);
    const label = face.label ?? "not read yet";
    const colour = colours[face.label] ?? colours.unknown;
    find(".swatch").style.backgroundColor = colour;
    setText(find(".label"), label);
    const probability = face.probabilities[face.label];
    setText(find(".percent"), probability === undefined ? "" : percent(probability));
    this.element.classList.toggle("unsure", probability === undefined);
    find("dl").hidden = !face.label;
    const names = Object.keys(colours).filter((name) => name !== "unknown");
    for (const name of names) this.bar(name, face.probabilities[name] ?? 0, colours[name]);
  }

  bar(name, probability, colour) {
    if (!this.bars.has(name)) {
      const bar = copy("bar");
      bar.querySelector("dt").textContent = name;
      this.bars.set(name, bar);
      this.element.querySelector("dl").append(bar);
    }
    const bar = this.bars.get(name);
    const fill = bar.querySelector(".fill");
    fill.style.width = `${(probability * 100).toFixed(1)}%`;
    fill.style.backgroundColor = colour;
    setText(bar.querySelector(".value"), percent(probability));
  }
}
