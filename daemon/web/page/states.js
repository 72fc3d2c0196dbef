// The states of all streams, asked for once a second for as long as a page is open.

const POLL_MS = 1000;
const TIMEOUT_MS = 5000;

// `show(states)` gets each answer, `miss(why)` why there was none.
export async function follow(show, miss) {
  for (;;) {
    let why = "affectd does not answer. This page goes on by itself when it is back.";
    try {
      const signal = AbortSignal.timeout(TIMEOUT_MS);
      const response = await fetch("/api/streams", { signal, cache: "no-store" });
      if (response.ok) {
        show(await response.json());
        why = "";
      } else if (response.status === 401) {
        why = "This browser is not signed in (any more). Open /?token=… with the token.";
      } else {
        why = (await response.json()).error ?? why;
      }
    } catch {
      // Nobody answered, or a web server in front did, without JSON.
    }
    if (why) miss(why);
    await new Promise((done) => setTimeout(done, POLL_MS));
  }
}
