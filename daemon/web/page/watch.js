// One stream's picture and nothing else, or why there is none: /page/watch.html?stream=NAME

import { Pictures, STALE_MS, Screen } from "./pictures.js";
import { follow } from "./states.js";
import { Video } from "./video.js";
import { STATES, reason, setText } from "./words.js";

const name = new URLSearchParams(location.search).get("stream") ?? "";
const path = encodeURIComponent(name);
const image = document.querySelector("img");
const video = document.querySelector("video");
const screen = new Screen(image);
const pictures = new Pictures((_, blob) => screen.show(blob), `/api/pictures?stream=${path}`);
let player = null;

image.alt = `Live picture of ${name}`;
image.addEventListener("load", () => veil(""));
video.setAttribute("aria-label", image.alt);
document.title = `${name} · affectd`;

function tell(text) {
  const element = document.querySelector(".veil");
  element.hidden = !text;
  setText(element, text);
}

function veil(why) {
  image.hidden = Boolean(why);
  tell(why);
}

// Shows MJPEG where the stream has it, as its card does; its sinks are known before its URLs are.
// Else HLS, whose player says itself what is wrong.
function show({ streams }) {
  const stream = streams.find((one) => one.name === name);
  const byMjpeg = Boolean(stream?.sinks.some((sink) => sink.name === "mjpeg"));
  pictures.want(byMjpeg ? [name] : []);
  video.hidden = byMjpeg;
  if (byMjpeg) {
    player?.close();
    player = null;
    if (performance.now() - screen.shownAt > STALE_MS) veil(absence(stream));
  } else {
    image.hidden = true;
    player ??= new Video(video, `/streams/${path}/hls/index.m3u8`, tell);
  }
}

function absence(stream) {
  if (stream.state === "live") return pictures.refused || "Waiting for a picture";
  const why = reason(stream.reason);
  return why ? `${STATES[stream.state]}: ${why}` : STATES[stream.state];
}

function miss(why) {
  if (player) return;
  pictures.want([]); // Their connection may be as dead, and would never say so.
  veil(why);
}

follow(show, miss);
