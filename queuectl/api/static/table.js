// The table of jobs: filters in the address, pages by cursor, news that never move a row under the pointer.

import { useEffect, useRef, useState } from "preact/hooks";
import { ACTS, act, ask, complain, say } from "./dialogs.js";
import { Badge, Link, STATES, When, api, count, duration, go, html, plural, query } from "./lib.js";
import { live, useLive } from "./live.js";

const PAGE = 50;
const REFRESH_MS = 700;
const SEARCH_REFRESH_MS = 4000;
const BATCH = 500;

// Read one page; a filter by text or worker goes on until the page is full or everything was looked at. Its version is
// that of the first part: what has changed since is news.
async function load(filter, signal, progress) {
  const found = { jobs: [], next: filter.after || null, total: null, examined: 0 };
  do {
    const limit = PAGE - found.jobs.length;
    const page = await api(`jobs?${query({ ...filter, after: found.next, limit })}`, { signal });
    found.jobs.push(...page.jobs);
    found.examined += page.examined;
    Object.assign(found, { next: page.next, total: page.total, version: found.version ?? page.version });
    progress(found);
  } while (found.next && found.jobs.length < PAGE);
  return found;
}

const keyOf = (filter) => query(filter);

function useJobs(filter, held) {
  const { now, at } = useLive();
  const key = keyOf(filter);
  const [page, setPage] = useState({ key: null, jobs: [], next: null, total: null, examined: 0, loading: true });
  const [waiting, setWaiting] = useState(null);
  const state = useRef({});
  state.current.page = page;
  state.current.held = held;

  const show = (found, key) => {
    state.current.shown = found.version;
    setWaiting(null);
    setPage({ ...found, key, loading: false });
  };
  // News while somebody points at, selects or types: rows change in their places, and none comes or goes.
  const lay = (found, key) => {
    const { page, held } = state.current;
    if (!held() || page.key !== key) return show(found, key);
    state.current.shown = found.version;
    const fresh = new Map(found.jobs.map((job) => [job.id, job]));
    const jobs = page.jobs.map((job) => fresh.get(job.id) ?? { ...job, gone: found.next === null });
    setPage({ ...page, jobs, total: found.total });
    const shown = new Set(jobs.map((job) => job.id));
    const news = found.jobs.filter((job) => !shown.has(job.id)).length;
    const moved = jobs.some((job, i) => found.jobs[i]?.id !== job.id) || found.jobs.length !== jobs.length;
    setWaiting(moved ? { found, key, news } : null);
  };

  useEffect(() => {
    const mine = state.current;
    const control = (mine.control = new AbortController());
    mine.shown = undefined;
    setWaiting(null);
    setPage((page) => ({ ...page, loading: true }));
    load(filter, control.signal, (found) => setPage({ ...found, jobs: [...found.jobs], key, loading: found.next !== null && found.jobs.length < PAGE }))
      .then((found) => show(found, key))
      .catch((error) => {
        if (error.name === "AbortError") return;
        setPage({ key, jobs: [], next: null, total: null, examined: 0, loading: false, error });
      });
    return () => {
      control.abort();
      clearTimeout(mine.timer);
      mine.timer = null;
    };
  }, [key]);

  // Ask again after a change that the rows do not show yet, but not too often, and not while an answer is under way.
  const version = now?.version;
  useEffect(() => {
    const mine = state.current;
    const { signal } = mine.control;
    mine.wanted = version;
    if (version === undefined || page.loading || page.key !== key || mine.timer || mine.shown === version) return;
    const pause = filter.q || filter.worker || filter.error ? SEARCH_REFRESH_MS : REFRESH_MS;
    const refresh = async () => {
      if (document.hidden) return void (mine.timer = setTimeout(refresh, pause));
      mine.refreshed = Date.now();
      let older = false;
      try {
        lay(await load(filter, signal, () => {}), key);
        older = mine.shown < mine.wanted; // it has changed once more meanwhile
      } catch {
        // the line at the top says that the server is away
      }
      if (!signal.aborted) mine.timer = older ? setTimeout(refresh, pause) : null;
    };
    mine.timer = setTimeout(refresh, Date.now() - (mine.refreshed ?? 0) > pause ? 60 : pause);
  }, [at, version, key, page.loading]);

  const patch = (job) => setPage((page) => ({ ...page, jobs: page.jobs.map((old) => (old.id === job.id ? { ...old, ...job } : old)) }));
  return { page, waiting, patch, showWaiting: () => waiting && show(waiting.found, waiting.key) };
}

// Do something to many jobs, some hundred at a time, and say what became of it.
async function actOnMany(verb, ids) {
  const failed = [];
  for (let at = 0; at < ids.length; at += BATCH) {
    const result = await api(verb, { method: "POST", body: { ids: ids.slice(at, at + BATCH) } });
    failed.push(...result.not_changed);
  }
  const done = ids.length - failed.length;
  say(`${ACTS[verb].done} ${plural(done, "job")}`);
  if (failed.length) say(`${plural(failed.length, "job")} left as they were: ${failed[0].detail}`, "trouble");
}

// Collect the ids of all that match; what is confirmed is then exactly what is done.
async function collect(filter, progress) {
  const ids = [];
  let after = null;
  do {
    const page = await api(`ids?${query({ state: filter.state, q: filter.q, worker: filter.worker, error: filter.error, after })}`);
    ids.push(...page.ids);
    after = page.next;
    progress(ids.length);
  } while (after);
  return ids;
}

function Filters({ filter, change, fixed, workers }) {
  const [text, setText] = useState(filter.q);
  const typing = useRef(null);
  const mine = useRef(filter.q);
  useEffect(() => {
    if (filter.q !== mine.current) setText((mine.current = filter.q)); // the address was changed, not by typing
  }, [filter.q]);
  const typed = (event) => {
    const { value } = event.target;
    setText(value);
    clearTimeout(typing.current);
    typing.current = setTimeout(() => {
      mine.current = value.trim();
      change({ q: mine.current });
    }, 250);
  };
  const [worker, setWorker] = useState(filter.worker); // what is being typed, which news must not take away
  useEffect(() => setWorker(filter.worker), [filter.worker]);
  const names = [...new Set([...workers, ...(filter.worker ? [filter.worker] : [])])];
  return html`<div class="filters" role="search">
    <input type="search" class="text" value=${text} onInput=${typed} placeholder="Id, command or error" aria-label="Text in id, command or error" maxlength="200" />
    ${!fixed && html`<select aria-label="State" value=${filter.state} onChange=${(e) => change({ state: e.target.value })}>
      <option value="">all states</option>
      ${STATES.map((state) => html`<option key=${state} value=${state} selected=${filter.state === state}>${state}</option>`)}
    </select>`}
    <input class="worker" list="workers" aria-label="Worker" placeholder="any worker" value=${worker} onInput=${(e) => setWorker(e.target.value)} onChange=${(e) => change({ worker: e.target.value.trim() })} maxlength="200" />
    ${filter.error && html`<button class="chip" onClick=${() => change({ error: "" })} aria-label="Show all errors" title=${filter.error}><span>${filter.error}</span> ✕</button>`}
    <datalist id="workers">${names.map((name) => html`<option key=${name} value=${name} />`)}</datalist>
  </div>`;
}

const COLUMNS = [
  ["id", "Job"],
  ["state", "State"],
  [null, "Command"],
  [null, "Tries"],
  [null, "Took"],
  ["when", "When"],
];

function Heading({ filter, change, all, none, toggleAll, selectable, fixed }) {
  const sorted = (key) => (filter.sort === key ? "ascending" : filter.sort === `-${key}` || (!filter.sort && key === "when") ? "descending" : null);
  const next = (key) => (key === "state" ? key : { ascending: `-${key}`, descending: key }[sorted(key)] ?? (key === "when" ? "-when" : key));
  return html`<thead><tr>
    ${selectable && html`<th class="pick"><input type="checkbox" aria-label="Select this page" checked=${all} disabled=${none} onChange=${toggleAll} /></th>`}
    ${COLUMNS.map(([key, label]) => html`<th key=${label} class=${`col-${label.toLowerCase()}`} aria-sort=${key && sorted(key)}>
      ${key && !(fixed && key === "state") ? html`<button onClick=${() => change({ sort: next(key) })}>${label}<span class="arrow">${{ ascending: "▲", descending: "▼" }[sorted(key)] ?? (filter.sort === key ? "▲" : "")}</span></button>` : label}
    </th>`)}
    <th class="acts"><span class="hidden">Actions</span></th>
  </tr></thead>`;
}

function Row({ job, picked, toggle, selectable, verbs, onAct }) {
  const link = job.drop ? html`<span class="mono">${job.id}</span>` : html`<${Link} class="mono" to=${`/dashboard/jobs/${encodeURIComponent(job.id)}`}>${job.id}<//>`;
  return html`<tr class=${`${picked ? "picked" : ""} ${job.gone ? "gone" : ""}`} data-id=${job.id}>
    ${selectable && html`<td class="pick"><input type="checkbox" aria-label=${`Select ${job.id}`} checked=${picked} disabled=${job.drop} onChange=${toggle} /></td>`}
    <td class="id">${link}</td>
    <td class="state"><${Badge} state=${job.state} drop=${job.drop} /></td>
    <td class="command"><div class="mono" title=${job.command}>${job.drop ? html`<i>waits to be admitted by a worker</i>` : job.command}</div>
      ${job.last_error && html`<div class="error" title=${job.last_error}>${job.last_error}</div>`}</td>
    <td class="tries">${job.drop ? "–" : `${job.attempts}/${job.max_retries + 1}`}</td>
    <td class="took">${duration(job.took_sec)}</td>
    <td class="when"><${When} at=${job.when} running=${job.state === "processing"} /></td>
    <td class="acts">${!job.gone && verbs.filter((verb) => ACTS[verb].fits(job)).map((verb) => html`<button key=${verb} class=${`small ${verb}`} onClick=${() => onAct(verb, job)}>${ACTS[verb].label}</button>`)}</td>
  </tr>`;
}

export function Table({ address, base, state, verbs, bulk, keep = {} }) {
  const { now } = useLive();
  const get = (name) => address.params.get(name) ?? "";
  const filter = { state: state ?? get("state"), q: get("q"), worker: get("worker"), error: get("error"), sort: get("sort"), after: get("after") };
  const [picked, setPicked] = useState(new Set());
  const body = useRef(null);
  const inside = useRef(false);
  const pickedNow = useRef(picked);
  pickedNow.current = picked;
  const held = () => inside.current || pickedNow.current.size > 0 || body.current?.contains(document.activeElement) || !!document.querySelector("dialog[open]");
  const { page, waiting, patch, showWaiting } = useJobs(filter, held);
  const [busy, setBusy] = useState("");
  const locked = now?.read_only;

  const visit = (values, replace) => {
    const all = { ...filter, ...keep, ...values };
    if (state) delete all.state; // the address says it already
    setPicked(new Set());
    go(`${base}?${query(all)}`.replace(/\?$/, ""), { replace });
  };
  const change = (values) => visit({ after: "", ...values }, "q" in values);
  const turn = (after) => visit({ after }, false);
  const leave = () => {
    inside.current = false;
    setTimeout(() => !held() && showWaiting(), 250);
  };
  const toggle = (id) => setPicked((old) => {
    const next = new Set(old);
    if (!next.delete(id)) next.add(id);
    return next;
  });
  const selectable = page.jobs.filter((job) => !job.drop && !job.gone);
  const all = selectable.length > 0 && selectable.every((job) => picked.has(job.id));
  const onAct = async (verb, job) => {
    const result = await act(verb, job);
    if (result) patch({ id: job.id, state: result.state, last_error: result.last_error, gone: result.gone || (filter.state && result.state !== filter.state) });
  };
  const many = async (verb, ids, question) => {
    if (!ids.length) return say("No job matches");
    if (!(await ask(question(ids.length), ACTS[verb].label, { danger: ACTS[verb].danger }))) return;
    setBusy(`${ACTS[verb].label}…`);
    try {
      await actOnMany(verb, ids);
      setPicked(new Set());
    } catch (error) {
      complain(error);
    }
    setBusy("");
    pickedNow.current = new Set();
    inside.current = false;
  };
  const matching = async (verb) => {
    const words = [state ?? filter.state, filter.q && `with “${filter.q}”`, filter.worker && `of worker ${filter.worker}`, filter.error && `with the error “${filter.error}”`].filter(Boolean).join(" ");
    try {
      const ids = await collect(filter, (found) => setBusy(`Counting… ${count(found)}`));
      setBusy("");
      await many(verb, ids, (n) => `${ACTS[verb].label} ${n === 1 ? "the one job" : `all ${plural(n, "job")}`} ${words ? `that match${n === 1 ? "es" : ""}: ${words}` : ""}?`);
    } catch (error) {
      setBusy("");
      complain(error);
    }
  };

  const showing = page.total === null ? "" : `${count(page.jobs.length)} of ${plural(page.total, "job")}`;
  const searched = page.total === null && page.examined ? `${page.loading ? "searching" : "searched"} ${count(page.examined)}` : "";
  return html`<section class="panel jobs" aria-label="Jobs" aria-busy=${page.loading}>
    <div class="bar">
      <${Filters} filter=${filter} change=${change} fixed=${state} workers=${(now?.workers ?? []).map((w) => w.worker)} />
      <span class="facts" aria-live="polite">${busy || [showing, searched].filter(Boolean).join(" · ")}</span>
      <button class=${`news ${waiting ? "" : "off"}`} disabled=${!waiting} onClick=${showWaiting}>${waiting?.news ? `${waiting.news} new` : "Refresh"}</button>
    </div>
    ${!locked && html`<div class="bar bulk">
      <span>${picked.size ? `${plural(picked.size, "job")} selected` : "Select jobs, or act on all that match:"}</span>
      ${bulk.map((verb) => html`<button key=${verb} class=${ACTS[verb].danger ? "danger" : ""} disabled=${!!busy || (!picked.size && page.total === 0)}
        onClick=${() => picked.size ? many(verb, [...picked], (n) => `${ACTS[verb].label} the ${plural(n, "selected job")}?`) : matching(verb)}>
        ${ACTS[verb].label} ${picked.size ? "selected" : "all matching…"}</button>`)}
      ${picked.size > 0 && html`<button class="plain" onClick=${() => setPicked(new Set())}>Clear</button>`}
    </div>`}
    <div class="scroll"><table>
      <${Heading} filter=${filter} change=${change} all=${all} none=${!selectable.length} selectable=${!locked} fixed=${state}
        toggleAll=${() => setPicked(all ? new Set() : new Set(selectable.map((job) => job.id)))} />
      <tbody ref=${body} onPointerEnter=${() => (inside.current = true)} onPointerLeave=${leave} onFocusOut=${() => setTimeout(() => !held() && showWaiting(), 250)}>
        ${page.jobs.map((job) => html`<${Row} key=${job.id} job=${job} picked=${picked.has(job.id)} toggle=${() => toggle(job.id)} selectable=${!locked} verbs=${locked ? [] : verbs} onAct=${onAct} />`)}
      </tbody>
    </table>
    ${!page.jobs.length && html`<p class="empty">${page.error ? page.error.message : page.loading ? "Looking…" : filter.q || filter.worker || filter.error || filter.state ? "No job matches." : "No jobs yet."}</p>`}</div>
    <div class="bar pages">
      <button disabled=${!filter.after} onClick=${() => turn("")}>First</button>
      <button disabled=${!filter.after} onClick=${() => history.back()}>Back</button>
      <button disabled=${!page.next} onClick=${() => turn(page.next)}>Next</button>
    </div>
  </section>`;
}

// The dead, counted by their last error.
export function Errors({ filter, choose }) {
  const [found, set] = useState(null);
  useEffect(() => {
    const control = new AbortController();
    (async () => {
      const groups = new Map();
      let after = null;
      let examined = 0;
      do {
        const page = await api(`errors?${query({ state: "dead", ...filter, after })}`, { signal: control.signal });
        for (const group of page.groups) {
          const old = groups.get(group.error);
          groups.set(group.error, old ? { ...old, jobs: old.jobs + group.jobs } : group);
        }
        after = page.next;
        examined += page.examined;
        set({ groups: [...groups.values()].sort((a, b) => b.jobs - a.jobs), examined, loading: !!after });
      } while (after);
    })().catch((error) => error.name !== "AbortError" && complain(error));
    return () => control.abort();
  }, [query(filter), live.now?.counts.dead]);
  return html`<section class="panel groups" aria-label="Errors">
    <h2>By error ${found?.loading && html`<small>${count(found.examined)} read…</small>`}</h2>
    <ul>${(found?.groups ?? []).slice(0, 100).map((group) => html`<li key=${group.error}>
      <button class="plain" onClick=${() => choose(group.error)}><b>${count(group.jobs)}</b> <span class="mono">${group.error}</span></button>
      <span class="quiet">last <${When} at=${group.last_at} /></span></li>`)}</ul>
    ${found && !found.groups.length && html`<p class="empty">No errors.</p>`}
  </section>`;
}
