// The overview as the server pushes it, over one stream; by asking every five seconds while there is none.

import { useEffect, useState } from "preact/hooks";
import { api } from "./lib.js";

const POLL_MS = 5000;
const SILENCE_MS = 12000; // the stream gives a sign of life every five seconds

class Live {
  constructor() {
    this.now = null;
    this.link = "connecting"; // live, polling, lost
    this.at = null; // when the last news came, by our own clock
    this.listeners = new Set();
  }

  start() {
    this.open();
    setInterval(() => this.watch(), 1000);
  }

  open() {
    this.source?.close();
    this.opened = Date.now();
    this.source = new EventSource("/api/v1/events");
    this.source.addEventListener("overview", (event) => this.take(JSON.parse(event.data), "live"));
    this.source.onerror = () => this.failed();
  }

  take(overview, link) {
    Object.assign(this, { now: overview, link, at: Date.now() });
    if (link === "live") this.heard = Date.now();
    this.tell();
  }

  failed() {
    if (this.link === "live" || this.link === "connecting") {
      this.link = "lost";
      this.tell();
      this.poll();
    }
  }

  // Once a second: is the stream still there? If not, ask; and open it anew.
  watch() {
    if (this.link === "live" && Date.now() - this.heard < SILENCE_MS) return;
    if (this.link === "live") this.failed();
    if (Date.now() - (this.polled ?? 0) >= POLL_MS) this.poll();
    const closed = this.source.readyState === EventSource.CLOSED;
    if (Date.now() - this.opened > (closed ? 2000 : SILENCE_MS)) this.open();
  }

  async poll() {
    this.polled = Date.now();
    try {
      const overview = await api("overview");
      if (this.link !== "live") this.take(overview, "polling");
    } catch {
      if (this.link !== "live") {
        this.link = "lost";
        this.tell();
      }
    }
  }

  tell() {
    this.listeners.forEach((listener) => listener());
  }
}

export const live = new Live();

export function useLive() {
  const [, set] = useState(0);
  useEffect(() => {
    const listener = () => set((n) => n + 1);
    live.listeners.add(listener);
    return () => live.listeners.delete(listener);
  }, []);
  return live;
}
