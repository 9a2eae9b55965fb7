// What all parts of the page share: templates, requests, words for times and sizes.

import { h } from "preact";
import { useEffect, useState } from "preact/hooks";
import htm from "htm";

export const html = htm.bind(h);
export const STATES = ["pending", "processing", "completed", "failed", "dead"];

export class Problem extends Error {
  constructor(status, detail, hint) {
    super(detail);
    this.status = status;
    this.hint = hint;
  }
}

async function problemOf(answer) {
  if (answer.status === 401) location.reload(); // the server asks for its token
  try {
    const { detail, hint } = await answer.json();
    return new Problem(answer.status, detail, hint);
  } catch {
    return new Problem(answer.status, `the server answered ${answer.status}`);
  }
}

// Ask the API; the path goes on after /api/v1/. Returns JSON, null where there is none.
export async function api(path, { method = "GET", body, signal } = {}) {
  const headers = body === undefined ? {} : { "content-type": "application/json" };
  let answer;
  try {
    answer = await fetch(`/api/v1/${path}`, { method, headers, signal, body: body && JSON.stringify(body) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, "the server does not answer");
  }
  if (!answer.ok) throw await problemOf(answer);
  return answer.status === 204 ? null : answer.json();
}

export function query(values) {
  const found = new URLSearchParams();
  for (const [key, value] of Object.entries(values)) if (value) found.set(key, value);
  return found.toString();
}

export const jobPath = (id) => `jobs/${encodeURIComponent(id)}`;
export const count = (number) => (number ?? 0).toLocaleString("en");
export const plural = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 0.0095) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 10) return `${seconds.toFixed(2)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const [size, unit, below, small] = [[86400, "d", 3600, "h"], [3600, "h", 60, "m"], [60, "m", 1, "s"]].find(([s]) => whole >= s);
  const rest = Math.floor((whole % size) / below);
  return `${Math.floor(whole / size)} ${unit}${rest ? ` ${rest} ${small}` : ""}`;
}

export function bytes(size) {
  const units = ["bytes", "KiB", "MiB", "GiB"];
  let at = 0;
  while (size >= 1024 && at < 3) [size, at] = [size / 1024, at + 1];
  return `${at ? size.toFixed(1) : size} ${units[at]}`;
}

export const clock = (instant) => new Date(instant).toLocaleTimeString([], { hour12: false });
const exact = (instant) => new Date(instant).toLocaleString([], { hour12: false, dateStyle: "medium", timeStyle: "medium" });

export function relative(instant, now = Date.now()) {
  const seconds = (Date.parse(instant) - now) / 1000;
  if (Math.abs(seconds) < 1) return "now";
  const words = duration(Math.max(1, Math.round(Math.abs(seconds)))).replace(/\.00/, "");
  return seconds > 0 ? `in ${words}` : `${words} ago`;
}

// One tick a second for all times on the page.
const ticking = new Set();
setInterval(() => !document.hidden && ticking.forEach((tick) => tick()), 1000);

export function useTick() {
  const [, set] = useState(0);
  useEffect(() => {
    const tick = () => set((n) => n + 1);
    ticking.add(tick);
    return () => ticking.delete(tick);
  }, []);
}

export function When({ at, running }) {
  useTick();
  if (!at) return html`<span class="quiet">–</span>`;
  const words = running ? `for ${duration(Math.max(0, Math.round((Date.now() - Date.parse(at)) / 1000)))}` : relative(at);
  return html`<time datetime=${at} title=${exact(at)}>${words.replace(/(\d)\.00 s/, "$1 s")}</time>`;
}

export const Badge = ({ state, drop }) => html`<span class=${`badge ${state}`}>${drop ? "drop" : state}</span>`;

// Where we are: the path and the query, kept in the address.
export function useAddress() {
  const read = () => ({ path: location.pathname, params: new URLSearchParams(location.search) });
  const [address, set] = useState(read);
  useEffect(() => {
    const changed = () => set(read());
    addEventListener("popstate", changed);
    return () => removeEventListener("popstate", changed);
  }, []);
  return address;
}

export function go(target, { replace = false, state = null } = {}) {
  history[replace ? "replaceState" : "pushState"](state, "", target);
  dispatchEvent(new PopStateEvent("popstate"));
}

export function Link({ to, children, ...rest }) {
  const follow = (event) => {
    if (event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    go(to);
    scrollTo(0, 0);
  };
  return html`<a href=${to} onClick=${follow} ...${rest}>${children}</a>`;
}
