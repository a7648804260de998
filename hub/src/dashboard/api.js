// The hub's REST API: the token, calls, and streams of server-sent events.
const BASE = "/api/v1";
const KEY = "axle.token";

/** Takes a token from the address (`#token=…`), once, and out of it. */
export function takeTokenFromAddress() {
  const match = location.hash.match(/^#token=([A-Za-z0-9._~-]+)$/);
  if (!match) return;
  setToken(match[1]);
  history.replaceState(null, "", `${location.pathname}#/`);
}

export const token = () => sessionStorage.getItem(KEY);
export const setToken = (text) => sessionStorage.setItem(KEY, text);
export const forgetToken = () => sessionStorage.removeItem(KEY);

/** What the hub answered when it did not do what it was asked. */
export class Problem extends Error {
  constructor(status, body) {
    super(body.detail || body.title || `The hub answered ${status}.`);
    this.status = status;
    this.violations = body.violations ?? [];
  }
}

async function request(path, { headers, signal } = {}) {
  const response = await fetch(BASE + path, { signal, headers: { authorization: `Bearer ${token() ?? ""}`, ...headers } });
  if (!response.ok) throw new Problem(response.status, await response.json().catch(() => ({})));
  return response;
}

export const get = async (path) => (await request(path)).json();

/** Every item of a list, page by page. */
export async function all(path, field) {
  const items = [];
  for (let cursor = ""; ; ) {
    const page = await get(`${path}?limit=1000${cursor && `&cursor=${encodeURIComponent(cursor)}`}`);
    items.push(...page[field]);
    cursor = page.nextCursor;
    if (!cursor) return items;
  }
}

/**
 * Follows a stream for as long as `signal` allows, again after every break, and says how it stands.
 * EventSource cannot send the token, so the frames are read here.
 */
export async function follow(path, { signal, onitem, onstate = () => {} }) {
  for (let wait = 500; !signal.aborted; wait = Math.min(wait * 2, 10_000)) {
    try {
      const response = await request(path, { signal, headers: { accept: "text/event-stream" } });
      onstate("live");
      wait = 500;
      for await (const item of items(response.body)) onitem(item);
    } catch (error) {
      if (signal.aborted) return;
      onstate(error instanceof Problem ? error : "lost");
      if (error instanceof Problem && (error.status === 401 || error.status === 403)) return;
    }
    await new Promise((resolve) => setTimeout(resolve, wait * (0.5 + Math.random() / 2)));
  }
}

async function* items(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const frames = (rest + value).split("\n\n");
    rest = frames.pop();
    for (const frame of frames) {
      const data = frame.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart());
      if (data.length > 0) yield JSON.parse(data.join("\n"));
    }
  }
}
