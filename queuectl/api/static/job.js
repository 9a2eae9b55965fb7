// One job: what it is, its runs, what it prints.

import { useEffect, useState } from "preact/hooks";
import { ACTS, act } from "./dialogs.js";
import { Badge, Link, When, api, duration, html, jobPath } from "./lib.js";
import { useLive } from "./live.js";
import { Log } from "./log.js";

const spell = (command) => (Array.isArray(command) ? command.map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'"'"'`)}'`)).join(" ") : command);
const took = (run) => (Date.parse(run.finished_at) - Date.parse(run.started_at)) / 1000;

function facts(job, worker) {
  const waits = ["pending", "failed"].includes(job.state);
  return [
    ["Directory", job.cwd && html`<span class="mono">${job.cwd}</span>`],
    ["Run by", Array.isArray(job.command) ? "no shell" : "/bin/sh"],
    ["Priority", job.priority],
    ["Worker", worker && html`<${Link} to=${`/dashboard?worker=${encodeURIComponent(worker)}`}>${worker}<//>`],
    ["Tries", job.attempts],
    ["Retries", job.max_retries ?? "as configured"],
    ["Timeout", job.timeout ? duration(job.timeout) : "as configured"],
    ["Exit", job.exit],
    ["Enqueued", html`<${When} at=${job.created_at} />`],
    ["Due", waits && html`<${When} at=${job.due_at} />`],
    ["Started", job.state === "processing" && html`<${When} at=${job.updated_at} />`],
    ["Ended", ["completed", "dead"].includes(job.state) && html`<${When} at=${job.updated_at} />`],
    ["Variables", job.env && Object.keys(job.env).length > 0 && html`<span class="mono">${Object.keys(job.env).join(" ")}</span>`],
    ["Resources", job.resources && Object.keys(job.resources).length > 0 && html`<span class="mono">${Object.entries(job.resources).map(([name, amount]) => `${name}=${amount}`).join(" ")}</span>`],
    ["Notes", job.meta && Object.keys(job.meta).length > 0 && html`<span class="mono">${JSON.stringify(job.meta)}</span>`],
  ].filter(([, value]) => value || value === 0);
}

function Runs({ job, shown, choose }) {
  if (!job.history.length) return html`<p class="quiet">${job.state === "processing" ? "Its first run is going on." : "It has not run yet."}</p>`;
  return html`<div class="scroll"><table class="runs">
    <thead><tr><th>Try</th><th>Started</th><th>Took</th><th>Ended</th><th>Worker</th><th>Host</th><th><span class="hidden">Output</span></th></tr></thead>
    <tbody>${job.history.map((run, at) => html`<tr key=${at} class=${shown === run ? "picked" : ""}>
      <td>${run.attempt}</td>
      <td><${When} at=${run.started_at} /></td>
      <td>${duration(took(run))}</td>
      <td class=${run.error ? "error" : ""}>${run.error ?? "exit 0"}</td>
      <td class="mono">${run.worker}</td>
      <td class="mono">${run.host ?? "–"}</td>
      <td>${run.log_end > run.log_start && html`<button class="small" onClick=${() => choose(shown === run ? null : run)}>${shown === run ? "Whole output" : "Output"}</button>`}</td>
    </tr>`)}</tbody></table></div>`;
}

export function Job({ id }) {
  const { now } = useLive();
  const [job, setJob] = useState(null);
  const [trouble, setTrouble] = useState(null);
  const [run, setRun] = useState(null);
  const [asked, again] = useState(0);
  useEffect(() => {
    const control = new AbortController();
    api(jobPath(id), { signal: control.signal })
      .then((found) => {
        setTrouble(null);
        setJob((old) => (JSON.stringify(old) === JSON.stringify(found) ? old : found));
      })
      .catch((error) => error.name !== "AbortError" && error.status === 404 && setTrouble(error));
    return () => control.abort();
  }, [id, now?.version, asked]);
  useEffect(() => setRun(null), [id]);
  const onAct = async (verb) => {
    await act(verb, job);
    again((n) => n + 1);
  };
  if (!job) return html`<section class="panel">${trouble ? html`<h1>${id}</h1><p>${trouble.message}</p><${Link} to="/dashboard">All jobs<//>` : html`<p class="empty">Looking…</p>`}</section>`;
  const worker = job.state === "processing" ? now?.workers.find((one) => one.job === id)?.worker : job.history.at(-1)?.worker;
  return html`<article class="job">
    <section class="panel head">
      <p class="crumbs"><${Link} to="/dashboard">Jobs<//> /</p>
      <h1><span class="mono">${job.id}</span> <${Badge} state=${trouble ? "gone" : job.state} /></h1>
      <pre class="command">${spell(job.command)}</pre>
      ${job.last_error && html`<p class="error">${job.last_error}</p>`}
      ${trouble && html`<p class="error">${trouble.message}</p>`}
      ${!now?.read_only && !trouble && html`<div class="actions">${Object.keys(ACTS).filter((verb) => ACTS[verb].fits(job)).map((verb) => html`<button key=${verb} class=${verb === "retry" ? "primary" : ACTS[verb].danger ? "danger" : ""} onClick=${() => onAct(verb)}>${ACTS[verb].label}</button>`)}</div>`}
      <dl>${facts(job, worker).map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl>
    </section>
    <section class="panel"><h2>Runs</h2><${Runs} job=${job} shown=${run} choose=${setRun} /></section>
    <section class="panel"><h2>Output${run ? ` of try ${run.attempt}` : ""}</h2>
      <${Log} id=${id} run=${run} ended=${["completed", "dead"].includes(job.state)} onEnd=${() => again((n) => n + 1)} /></section>
  </article>`;
}
