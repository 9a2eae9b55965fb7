// Questions, forms and short messages.

import { useEffect, useRef, useState } from "preact/hooks";
import { api, html, jobPath } from "./lib.js";

const open = { show: null };

// Ask something that can be declined; resolves to whether it was agreed to.
export function ask(question, verb, { danger = false } = {}) {
  return new Promise((resolve) => open.show?.({ kind: "ask", question, verb, danger, resolve }));
}

export const openEnqueue = () => open.show?.({ kind: "enqueue", resolve: () => {} });

const toasts = { add: null, next: 1 };
export const say = (text, kind = "done") => toasts.add?.({ id: toasts.next++, text, kind });
export const complain = (error) => say(error.hint ? `${error.message} (${error.hint})` : error.message, "trouble");

export function Toasts() {
  const [shown, set] = useState([]);
  toasts.add = (toast) => {
    set((all) => [...all.slice(-3), toast]);
    setTimeout(() => set((all) => all.filter((one) => one.id !== toast.id)), toast.kind === "trouble" ? 9000 : 4000);
  };
  return html`<div class="toasts" role="status" aria-live="polite">
    ${shown.map((toast) => html`<div key=${toast.id} class=${`toast ${toast.kind}`}>${toast.text}</div>`)}
  </div>`;
}

export function Dialogs() {
  const [wanted, set] = useState(null);
  open.show = set;
  if (!wanted) return null;
  const close = (result) => {
    wanted.resolve(result);
    set(null);
  };
  return html`<${Modal} onClose=${() => close(false)}>
    ${wanted.kind === "ask" ? html`<${Question} ...${wanted} close=${close} />` : html`<${Enqueue} close=${close} />`}
  <//>`;
}

function Modal({ onClose, children }) {
  const element = useRef(null);
  useEffect(() => {
    const before = document.activeElement;
    element.current.showModal();
    return () => before?.focus?.();
  }, []);
  return html`<dialog ref=${element} onCancel=${(event) => { event.preventDefault(); onClose(); }}>${children}</dialog>`;
}

function Question({ question, verb, danger, close }) {
  return html`<p class="question">${question}</p>
    <div class="actions">
      <button onClick=${() => close(false)}>Leave it</button>
      <button class=${danger ? "danger" : "primary"} autofocus onClick=${() => close(true)}>${verb}</button>
    </div>`;
}

// The fields of the form that go into the job as they are, once they are not empty.
const FIELDS = [
  ["id", "Id", "one is made"],
  ["run_at", "Not before", "+2h, or 2030-01-01T03:00Z"],
  ["timeout", "Timeout", "90, 1.5h"],
  ["max_retries", "Retries", "as configured"],
  ["cwd", "Directory", "that of the dashboard"],
  ["resources", "Resources", "cpus=2 mem=4G"],
];

// Read `cpus=2 mem=4G` as the command line does; what looks like a number is one.
function resources(text) {
  return Object.fromEntries(text.trim().split(/\s+/).map((word) => {
    const at = word.indexOf("=");
    if (at < 0) throw new Error(`“${word}” must be NAME=AMOUNT, such as cpus=2`);
    const amount = word.slice(at + 1);
    return [word.slice(0, at), /^\d{1,15}(\.\d{1,9})?$/.test(amount) ? Number(amount) : amount];
  }));
}

function Enqueue({ close }) {
  const [trouble, setTrouble] = useState("");
  const [busy, setBusy] = useState(false);
  const submit = async (event) => {
    event.preventDefault();
    const given = Object.fromEntries([...new FormData(event.target)].filter(([, value]) => value.trim() !== ""));
    const body = { ...given, priority: Number(given.priority) };
    if (given.max_retries !== undefined) body.max_retries = Number(given.max_retries);
    setBusy(true);
    try {
      if (given.resources) body.resources = resources(given.resources);
      const made = await api("jobs", { method: "POST", body });
      close(true);
      say(`Enqueued ${made.id}`);
    } catch (error) {
      setTrouble(error.message);
      setBusy(false);
    }
  };
  return html`<form class="enqueue" onSubmit=${submit}>
    <h2>Enqueue a job</h2>
    <label class="wide">Command, for /bin/sh
      <textarea name="command" rows="3" required autofocus spellcheck="false"></textarea></label>
    <label>Priority <select name="priority">
      ${[9, 8, 7, 6, 5, 4, 3, 2, 1, 0].map((n) => html`<option value=${n} selected=${n === 5}>${n}${{ 9: " first", 5: " usual", 0: " last" }[n] ?? ""}</option>`)}
    </select></label>
    ${FIELDS.map(([name, label, hint]) => html`<label key=${name}>${label}
      <input name=${name} placeholder=${hint} autocomplete="off" spellcheck="false"
        ...${name === "max_retries" ? { type: "number", min: 0 } : {}} /></label>`)}
    <p class="trouble" role="alert">${trouble}</p>
    <div class="actions">
      <button type="button" onClick=${() => close(false)}>Leave it</button>
      <button class="primary" disabled=${busy}>Enqueue</button>
    </div>
  </form>`;
}

// What can be done to one job: the verb, when, how to ask first.
export const ACTS = {
  retry: { label: "Retry", done: "Retrying", fits: (job) => ["completed", "failed", "dead"].includes(job.state) },
  cancel: {
    label: "Cancel",
    done: "Cancelled",
    fits: (job) => ["pending", "failed", "processing"].includes(job.state) && !job.drop,
    question: (job) => job.state === "processing" && `End ${job.id}, which is running?`,
  },
  delete: {
    label: "Delete",
    done: "Deleted",
    danger: true,
    fits: (job) => job.state !== "processing" && !job.drop,
    question: (job) => `Delete ${job.id} and its log? This cannot be undone.`,
  },
};

// Do it to one job; returns the job as it is then, undefined when it was declined or failed.
export async function act(verb, job) {
  const { question, label, done, danger } = ACTS[verb];
  const asked = question?.(job);
  if (asked && !(await ask(asked, label, { danger }))) return undefined;
  try {
    const path = jobPath(job.id);
    const result = verb === "delete" ? await api(path, { method: "DELETE" }) : await api(`${path}/${verb}`, { method: "POST" });
    say(result?.detail ? `${job.id}: ${result.detail}` : `${done} ${job.id}`);
    return result?.detail ? job : (result ?? { ...job, gone: true });
  } catch (error) {
    complain(error);
    return undefined;
  }
}

