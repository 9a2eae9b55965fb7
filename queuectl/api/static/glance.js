// The queue at a glance: cards, the donut of states, the chart of the last hour.

import { useEffect, useRef } from "preact/hooks";
import { Link, STATES, When, count, duration, html, plural } from "./lib.js";

const HEIGHT = 176;
const AROUND = 2 * Math.PI * 42;
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

function Card({ name, to, number, children, active }) {
  return html`<${Link} to=${to} class=${`card ${name}`} aria-current=${active ? "true" : null}>
    <span class="name">${name}</span>
    <strong>${number === undefined ? "…" : count(number)}</strong>
    <span class="note">${children}</span>
  <//>`;
}

function note(state, now) {
  const average = now.averages[state]?.avg_time_sec;
  if (state === "pending") {
    if (now.oldest_pending_at) return html`oldest <${When} at=${now.oldest_pending_at} />`;
    return now.next_run_at ? html`next <${When} at=${now.next_run_at} />` : "none is waiting";
  }
  if (state === "failed") return now.next_retry_at ? html`retry <${When} at=${now.next_retry_at} />` : "no retries";
  if (state === "processing") return now.counts.processing ? "running now" : "nothing runs";
  return average === null || average === undefined ? "–" : `average ${duration(average)}`;
}

export function Cards({ now, state }) {
  const workers = now?.workers.length;
  return html`<section class="cards" aria-label="Jobs by state">
    ${STATES.map((name) => html`<${Card} key=${name} name=${name} number=${now?.counts[name]} active=${state === name}
      to=${name === "dead" ? "/dashboard/dlq" : state === name ? "/dashboard" : `/dashboard?state=${name}`}>
      ${now ? note(name, now) : ""}
    <//>`)}
    <${Card} name="workers" number=${workers} to="/dashboard/workers">
      ${!now ? "" : now.paused ? "paused" : workers ? `${count(now.workers.filter((w) => w.job).length)} busy` : "none runs"}
    <//>
  </section>`;
}

export function Donut({ counts }) {
  const total = STATES.reduce((sum, state) => sum + counts[state], 0);
  let from = 0;
  const parts = STATES.filter((state) => counts[state]).map((state) => {
    const share = counts[state] / total;
    const part = { state, share, from };
    from += share;
    return part;
  });
  const words = total ? STATES.map((state) => `${count(counts[state])} ${state}`).join(", ") : "no jobs";
  return html`<figure class="panel donut">
    <figcaption>Jobs by state</figcaption>
    <div class="ring">
      <svg viewBox="0 0 100 100" role="img" aria-label=${words}>
        <circle class="track" cx="50" cy="50" r="42" />
        ${parts.map(({ state, share, from }) => html`<circle key=${state} class=${`arc ${state}`} cx="50" cy="50" r="42"
          stroke-dasharray=${`${Math.max(share * AROUND - (parts.length > 1 ? 1 : 0), 0.8)} ${AROUND}`}
          stroke-dashoffset=${-from * AROUND} transform="rotate(-90 50 50)" />`)}
        <text x="50" y="50" class="total">${total >= 1e5 ? `${(total / 1000).toFixed(0)}k` : count(total)}</text>
        <text x="50" y="62" class="unit">${total === 1 ? "job" : "jobs"}</text>
      </svg>
      <ul>${STATES.map((state) => html`<li key=${state}><span class=${`dot ${state}`}></span>${state}<b>${count(counts[state])}</b></li>`)}</ul>
    </div>
  </figure>`;
}

function options(width) {
  const axis = { stroke: colour("quiet"), grid: { stroke: colour("line"), width: 1 }, ticks: { show: false }, font: "11px system-ui" };
  const bars = uPlot.paths.bars({ size: [0.42, 40], align: 1 });
  const other = uPlot.paths.bars({ size: [0.42, 40], align: -1 });
  return {
    width,
    height: HEIGHT,
    legend: { show: false },
    cursor: { show: false },
    padding: [10, 20, 0, 0], // room for half a time at the right end
    // Half a minute more on both sides, or half of the first and the last minute's bars would be cut off.
    scales: { x: { range: (_plot, first, last) => [first - 30, last + 30] }, y: { range: (_plot, _low, high) => [0, Math.max(high * 1.1, 4)] } },
    axes: [
      { ...axis, size: 28, space: 60, values: (_plot, at) => at.map((s) => new Date(s * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hour12: false })) },
      { ...axis, size: 46, space: 34, values: (_plot, at) => at.map((n) => (Number.isInteger(n) ? n.toLocaleString("en") : "")) },
    ],
    series: [
      {},
      { label: "finished", fill: colour("completed"), stroke: colour("completed"), width: 0, paths: bars, points: { show: false } },
      { label: "failed", fill: colour("dead"), stroke: colour("dead"), width: 0, paths: other, points: { show: false } },
    ],
  };
}

export function Chart({ minutes }) {
  const place = useRef(null);
  const plot = useRef(null);
  const since = Date.parse(minutes.since) / 1000;
  const data = [minutes.finished.map((_, i) => since + i * 60), minutes.finished, minutes.failed];
  const latest = useRef(data);
  latest.current = data;
  useEffect(() => {
    const draw = () => {
      if (!place.current) return;
      plot.current?.destroy();
      plot.current = new uPlot(options(place.current.clientWidth), latest.current, place.current);
    };
    draw();
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    const size = new ResizeObserver(() => {
      const width = place.current?.clientWidth; // none once the view has changed
      if (width && width !== plot.current.width) plot.current.setSize({ width, height: HEIGHT });
    });
    scheme.addEventListener("change", draw);
    size.observe(place.current);
    return () => {
      scheme.removeEventListener("change", draw);
      size.disconnect();
      plot.current?.destroy();
      plot.current = null;
    };
  }, []);
  useEffect(() => plot.current?.setData(data), [minutes]);
  const sum = (values) => values.reduce((total, value) => total + value, 0);
  const words = `${plural(sum(minutes.finished), "job")} finished, ${count(sum(minutes.failed))} failed in the last hour`;
  return html`<figure class="panel chart">
    <figcaption>Jobs a minute, last hour <span class="key"><span class="dot completed"></span>finished <b>${count(sum(minutes.finished))}</b>
      <span class="dot dead"></span>failed <b>${count(sum(minutes.failed))}</b></span></figcaption>
    <div class="plot" ref=${place} role="img" aria-label=${words}></div>
  </figure>`;
}
