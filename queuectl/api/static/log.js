// What a job prints: the end first, then live; colours of ANSI escapes; earlier parts by range.

import { useEffect, useRef, useState } from "preact/hooks";
import { bytes, html, jobPath } from "./lib.js";

const PIECE = 256 * 1024;
const MOST = 4 * 1024 * 1024; // characters that stay on the page

const ESCAPE = /\x1b(?:\[([0-?]*)[ -/]*([@-~])|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])/g;
const CUT = /\x1b(?:\[[0-?]*[ -/]*|\][^\x07\x1b]*)?$/; // an escape whose end has not come yet

// Turns text with escapes into pieces of text with classes; keeps the colour from one text to the next.
export class Ansi {
  constructor() {
    this.style = {};
    this.rest = "";
  }

  read(text) {
    let whole = this.rest + text;
    const cut = whole.match(CUT);
    this.rest = cut && cut[0].length < 200 ? cut[0] : "";
    whole = whole.slice(0, whole.length - this.rest.length);
    const pieces = [];
    let from = 0;
    for (const found of whole.matchAll(ESCAPE)) {
      if (found.index > from) pieces.push([whole.slice(from, found.index), this.classes()]);
      from = found.index + found[0].length;
      if (found[2] === "m") this.apply(found[1]);
    }
    if (from < whole.length) pieces.push([whole.slice(from), this.classes()]);
    return pieces;
  }

  apply(codes) {
    const numbers = codes.split(/[;:]/).map(Number);
    for (let i = 0; i < numbers.length; i++) {
      const n = numbers[i];
      if (n === 0) this.style = {};
      else if (n === 1 || n === 2) this.style.weight = n === 1 ? "bold" : "dim";
      else if (n === 3) this.style.slant = "italic";
      else if (n === 4) this.style.line = "underline";
      else if (n === 7) this.style.turned = "inverse";
      else if (n === 22) delete this.style.weight;
      else if (n === 23) delete this.style.slant;
      else if (n === 24) delete this.style.line;
      else if (n === 27) delete this.style.turned;
      else if ((n >= 30 && n <= 37) || (n >= 90 && n <= 97)) this.style.front = `f${n % 10 + (n >= 90 ? 8 : 0)}`;
      else if ((n >= 40 && n <= 47) || (n >= 100 && n <= 107)) this.style.back = `b${n % 10 + (n >= 100 ? 8 : 0)}`;
      else if (n === 39) delete this.style.front;
      else if (n === 49) delete this.style.back;
      else if (n === 38 || n === 48) {
        const [kind, key] = [numbers[i + 1], n === 38 ? "front" : "back"];
        const value = kind === 5 ? numbers[i + 2] : NaN;
        if (value < 16) this.style[key] = `${key[0]}${value}`;
        else delete this.style[key]; // of 256 and true colours only the first sixteen are shown
        i += kind === 5 ? 2 : kind === 2 ? 4 : 0;
      }
    }
  }

  classes() {
    return Object.values(this.style).join(" ");
  }
}

function nodes(pieces) {
  const found = document.createDocumentFragment();
  for (const [text, classes] of pieces) {
    // A carriage return starts the line anew, as for progress bars.
    const shown = text.replace(/\r\n/g, "\n").replace(/[^\n]*\r(?=[^\n])/g, "").replace(/\r/g, "");
    const node = classes ? document.createElement("span") : document.createTextNode(shown);
    if (classes) {
      node.className = classes;
      node.textContent = shown;
    }
    found.append(node);
  }
  return found;
}

async function part(id, from, to) {
  const answer = await fetch(`/api/v1/${jobPath(id)}/log`, { headers: { range: from < 0 ? `bytes=${from}` : `bytes=${from}-${to - 1}` } });
  if (answer.status === 416) return { text: "", start: 0, size: 0 };
  if (!answer.ok) throw new Error(`the log cannot be read (${answer.status})`);
  const text = await answer.text();
  const found = /bytes (\d+)-(\d+)\/(\d+)/.exec(answer.headers.get("content-range") ?? "");
  return found ? { text, start: +found[1], size: +found[2] + 1 } : { text, start: 0, size: +answer.headers.get("content-length") };
}

export function Log({ id, run, ended, onEnd }) {
  const pre = useRef(null);
  const view = useRef(null);
  const [start, setStart] = useState(0);
  const [facts, setFacts] = useState("");
  const [following, setFollowing] = useState(true);
  const mine = useRef({});
  // A job that has ended and is run again is followed anew; at its end nothing is, or a reader would lose the place.
  const round = useRef({ ended, number: 0 });
  if (round.current.ended && !ended) round.current.number++;
  round.current.ended = ended;

  const atEnd = () => {
    const { scrollHeight, scrollTop, clientHeight } = view.current;
    return scrollHeight - scrollTop - clientHeight < 30;
  };
  const append = (text) => {
    const stay = mine.current.follow;
    pre.current.append(nodes(mine.current.ansi.read(text)));
    mine.current.length += text.length;
    while (mine.current.length > MOST && pre.current.childNodes.length > 1) {
      mine.current.length -= pre.current.firstChild.textContent.length;
      mine.current.cut = true;
      pre.current.firstChild.remove();
    }
    if (stay) view.current.scrollTop = view.current.scrollHeight;
  };

  useEffect(() => {
    let source = null;
    let over = false;
    mine.current = { ansi: new Ansi(), length: 0, follow: true };
    pre.current.replaceChildren();
    (async () => {
      const first = run ? await part(id, run.log_start, run.log_end) : await part(id, -PIECE);
      if (over) return;
      setStart(run ? 0 : first.start);
      append(first.text);
      setFacts(bytes(run ? run.log_end - run.log_start : first.size));
      if (run) return;
      source = new EventSource(`/api/v1/${jobPath(id)}/log/follow?from=${first.size}`);
      source.addEventListener("log", (event) => {
        append(JSON.parse(event.data));
        setFacts(bytes(+event.lastEventId));
      });
      source.addEventListener("end", () => {
        source.close();
        onEnd?.();
      });
    })().catch((error) => over || setFacts(error.message));
    return () => {
      over = true;
      source?.close();
    };
  }, [id, run, round.current.number]);

  const earlier = async () => {
    const from = Math.max(start - PIECE, 0);
    const found = await part(id, from, start);
    const height = view.current.scrollHeight;
    pre.current.prepend(nodes(new Ansi().read(found.text)));
    view.current.scrollTop += view.current.scrollHeight - height;
    setStart(from);
  };
  const scrolled = () => {
    mine.current.follow = atEnd();
    setFollowing(mine.current.follow);
  };
  return html`<div class="log">
    <div class="bar"><span class="facts">${facts}</span>
      ${start > 0 && html`<button class="small" onClick=${earlier}>Earlier ${bytes(Math.min(PIECE, start))}</button>`}
      ${!following && html`<button class="small" onClick=${() => (view.current.scrollTop = view.current.scrollHeight)}>To the end</button>`}
      <a href=${`/api/v1/${jobPath(id)}/log`} target="_blank" rel="noopener">Whole log</a></div>
    <div class="output" ref=${view} onScroll=${scrolled} tabindex="0" role="log" aria-label="Output"><pre ref=${pre}></pre></div>
  </div>`;
}
