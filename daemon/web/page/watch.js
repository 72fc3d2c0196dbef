// One stream's video and nothing else, or why there is none: /page/watch.html?stream=NAME

import { Video } from "./video.js";

const name = new URLSearchParams(location.search).get("stream") ?? "";
const video = document.querySelector("video");
video.setAttribute("aria-label", `Live video of ${name}`);
document.title = `${name} · affectd`;

function tell(text) {
  const veil = document.querySelector(".veil");
  veil.hidden = !text;
  if (veil.textContent !== text) veil.textContent = text;
}

new Video(video, `/streams/${encodeURIComponent(name)}/hls/index.m3u8`, tell);
