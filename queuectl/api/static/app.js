// The page: the head, and below it what the address asks for.

import { render } from "preact";
import { useEffect } from "preact/hooks";
import { Dialogs, Toasts, complain, openEnqueue } from "./dialogs.js";
import { Cards, Chart, Donut } from "./glance.js";
import { Job } from "./job.js";
import { Link, When, api, clock, go, html, query, useAddress } from "./lib.js";
import { live, useLive } from "./live.js";
import { Errors, Table } from "./table.js";

const LINKS = { connecting: "connecting…", live: "live", polling: "polling", lost: "reconnecting…" };

function Head({ path }) {
  const { now, link, at } = useLive();
  const here = (to) => (path === to ? "page" : null);
  const pause = () => api("pause", { method: "PUT", body: { paused: !now.paused } }).catch(complain);
  return html`<header>
    <div class="brand"><img src="/static/icon.svg" alt="" width="24" height="24" /><${Link} to="/dashboard">queuectl<//>
      <span class="spool" title=${now?.spool}>${now?.spool.split("/").slice(-2).join("/") ?? ""}</span></div>
    <nav aria-label="Views">
      <${Link} to="/dashboard" aria-current=${here("/dashboard")}>Jobs<//>
      <${Link} to="/dashboard/dlq" aria-current=${here("/dashboard/dlq")}>Dead letters${now?.counts.dead ? html` <span class="pill">${now.counts.dead}</span>` : ""}<//>
      <${Link} to="/dashboard/workers" aria-current=${here("/dashboard/workers")}>Workers<//>
      <a href="/docs">API</a>
    </nav>
    <div class="tools">
      <span class=${`link ${link}`} role="status"><span class="dot"></span>${LINKS[link]}${at && link !== "connecting" ? html` <time class="updated">${clock(at)}</time>` : ""}</span>
      ${now?.read_only && html`<span class="pill">read-only</span>`}
      ${now && !now.read_only && html`<button class=${now.paused ? "warn" : ""} onClick=${pause} aria-pressed=${now.paused}>${now.paused ? "Resume" : "Pause"}</button>
        <button class="primary" onClick=${openEnqueue}>Enqueue</button>`}
    </div>
  </header>`;
}

function Jobs({ address }) {
  const { now } = useLive();
  return html`<${Cards} now=${now} state=${address.params.get("state")} />
    <div class="charts">${now ? html`<${Chart} minutes=${now.minutes} /><${Donut} counts=${now.counts} />` : html`<div class="panel chart"></div><div class="panel donut"></div>`}</div>
    <${Table} address=${address} base="/dashboard" verbs=${["retry", "cancel"]} bulk=${["retry", "cancel", "delete"]} />`;
}

function Dead({ address }) {
  const grouped = address.params.get("by") === "error";
  const { now } = useLive();
  const filter = { q: address.params.get("q") ?? "", worker: address.params.get("worker") ?? "" };
  const error = address.params.get("error") ?? "";
  const show = (values) => go(`/dashboard/dlq?${query({ ...filter, error, by: grouped ? "error" : "", ...values })}`.replace(/\?$/, ""));
  return html`<div class="title"><h1>Dead letters</h1>
      <p class="quiet">Jobs that have used up their retries, or were cancelled.${now?.counts.rejected ? ` ${now.counts.rejected} rejected files lie in rejected/.` : ""}</p>
      <button aria-pressed=${grouped} class=${grouped ? "on" : ""} onClick=${() => show({ by: grouped ? "" : "error" })}>Group by error</button></div>
    ${grouped && html`<${Errors} filter=${filter} choose=${(chosen) => show({ error: chosen })} />`}
    <${Table} address=${address} base="/dashboard/dlq" keep=${grouped ? { by: "error" } : {}} state="dead" verbs=${["retry", "delete"]} bulk=${["retry", "delete"]} />`;
}

function Workers() {
  const { now } = useLive();
  return html`<section class="panel"><h1>Workers</h1>
    ${now?.paused && html`<p>The queue is paused: running jobs go on, no new ones start.</p>`}
    <div class="scroll"><table><thead><tr><th>Worker</th><th>Runs</th><th>Started</th><th>Supervisor</th></tr></thead>
    <tbody>${(now?.workers ?? []).map((one) => html`<tr key=${one.worker}>
      <td><${Link} class="mono" to=${`/dashboard?worker=${encodeURIComponent(one.worker)}`}>${one.worker}<//></td>
      <td>${one.job ? html`<${Link} class="mono" to=${`/dashboard/jobs/${encodeURIComponent(one.job)}`}>${one.job}<//>` : html`<span class="quiet">–</span>`}</td>
      <td><${When} at=${one.started_at} /></td><td>${one.supervisor}</td></tr>`)}</tbody></table></div>
    ${now && !now.workers.length && html`<p class="empty">No workers run. <code>queuectl worker start</code> starts some.</p>`}
  </section>`;
}

function View({ address }) {
  const job = /^\/dashboard\/jobs\/([^/]+)$/.exec(address.path);
  if (job) return html`<${Job} key=${job[1]} id=${decodeURIComponent(job[1])} />`;
  if (address.path === "/dashboard/dlq") return html`<${Dead} address=${address} />`;
  if (address.path === "/dashboard/workers") return html`<${Workers} />`;
  return html`<${Jobs} address=${address} />`;
}

function keys(event) {
  if (event.target.closest("input, textarea, select, dialog") || event.metaKey || event.ctrlKey || event.altKey) return;
  const field = document.querySelector(".filters .text");
  if (event.key === "/" && field) field.focus();
  else if (event.key === "n" && live.now && !live.now.read_only) openEnqueue();
  else if (event.key === "j" || event.key === "k") step(event.key === "j" ? 1 : -1);
  else return;
  event.preventDefault();
}

function step(by) {
  const links = [...document.querySelectorAll("tbody td.id a")];
  const at = links.indexOf(document.activeElement);
  links[Math.min(Math.max(at + by, 0), links.length - 1)]?.focus();
}

function App() {
  const address = useAddress();
  useEffect(() => {
    addEventListener("keydown", keys);
    return () => removeEventListener("keydown", keys);
  }, []);
  return html`<${Head} path=${address.path} /><main><${View} address=${address} /></main><${Dialogs} /><${Toasts} />`;
}

live.start();
const place = document.getElementById("app");
place.replaceChildren();
render(html`<${App} />`, place);
