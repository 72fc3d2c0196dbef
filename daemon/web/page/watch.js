// One stream's video and nothing else: /page/watch.html?stream=NAME

import { Video } from "./video.js";

const name = new URLSearchParams(location.search).get("stream") ?? "";
const video = document.querySelector("video");
video.setAttribute("aria-label", `Live video of ${name}`);
document.title = `${name} · affectd`;
new Video(video, `/streams/${encodeURIComponent(name)}/hls/index.m3u8`);
