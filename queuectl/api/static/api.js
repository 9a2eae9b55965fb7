// The OpenAPI document, to be read; what only reads can be tried.

import { render } from "preact";
import { useState } from "preact/hooks";
import { html } from "./lib.js";

const pretty = (value) => JSON.stringify(value, null, 2);
const nameOf = (schema) => schema.$ref?.split("/").pop() ?? (schema.type === "array" ? `${nameOf(schema.items ?? {})}[]` : (schema.anyOf ?? []).map(nameOf).join(" | ") || schema.type || "any");

function Try({ path, parameters }) {
  const [shown, set] = useState(null);
  const ask = async (event) => {
    event.preventDefault();
    const given = new FormData(event.target);
    let target = path;
    const query = new URLSearchParams();
    for (const { name, in: place } of parameters) {
      const value = given.get(name);
      if (place === "path") target = target.replace(`{${name}}`, encodeURIComponent(value));
      else if (value) query.set(name, value);
    }
    if (`${query}`) target += `?${query}`;
    const answer = await fetch(target);
    const text = await answer.text();
    let body = text;
    try { body = pretty(JSON.parse(text)); } catch { /* not JSON: as it is */ }
    set({ target, status: answer.status, body: body.slice(0, 20000) });
  };
  return html`<form onSubmit=${ask}>
    ${parameters.map((one) => html`<label key=${one.name}>${one.name}<input name=${one.name} required=${one.required} placeholder=${one.schema.default ?? ""} /></label>`)}
    <button>Try</button></form>
    ${shown && html`<p><span class="mono">${shown.target}</span> ${shown.status}</p><pre>${shown.body}</pre>`}`;
}

function Operation({ path, method, operation }) {
  const parameters = operation.parameters ?? [];
  const body = operation.requestBody?.content["application/json"].schema;
  const stream = operation.tags[0] === "Streams";
  return html`<details id=${operation.operationId}>
    <summary><span class=${`method ${method}`}>${method.toUpperCase()}</span><span class="mono">${path}</span><span class="quiet">${operation.summary}</span></summary>
    ${parameters.length > 0 && html`<h3>Parameters</h3><table><tbody>${parameters.map((one) => html`<tr key=${one.name}><td class="mono">${one.name}${one.required ? "" : "?"}</td><td>${one.in}</td><td class="mono">${one.schema.enum?.join(" ") ?? one.schema.type ?? ""}</td><td>${one.description ?? one.schema.description ?? ""}</td></tr>`)}</tbody></table>`}
    ${body && html`<h3>Body</h3><p class="mono">${nameOf(body)}</p>`}
    <h3>Answers</h3><table><tbody>${Object.entries(operation.responses).map(([status, answer]) => html`<tr key=${status}><td>${status}</td><td>${answer.description}</td><td class="mono">${Object.entries(answer.content ?? {}).map(([type, { schema }]) => `${type}: ${nameOf(schema)}`).join(", ")}</td></tr>`)}</tbody></table>
    ${method === "get" && !stream && html`<${Try} path=${path} parameters=${parameters} />`}
  </details>`;
}

function Page({ document: doc }) {
  const all = Object.entries(doc.paths).flatMap(([path, methods]) => Object.entries(methods).map(([method, operation]) => ({ path, method, operation })));
  const tags = [...new Set(all.map(({ operation }) => operation.tags[0]))];
  return html`<header><div class="brand"><img src="/static/icon.svg" alt="" width="24" height="24" /><a href="/dashboard">queuectl</a></div>
      <nav aria-label="Views"><a href="/dashboard">Dashboard</a><a href="/docs" aria-current="page">API</a></nav><a href="/openapi.json">openapi.json</a></header>
    <main><div class="title"><h1>${doc.info.title} API ${doc.info.version}</h1><p class="quiet">${doc.info.description}</p></div>
    ${tags.map((tag) => html`<section class="docs" key=${tag}><h2>${tag}</h2>${all.filter(({ operation }) => operation.tags[0] === tag).map((one) => html`<${Operation} key=${one.operation.operationId} ...${one} />`)}</section>`)}
    <section class="docs"><h2>Schemas</h2>${Object.entries(doc.components.schemas).map(([name, schema]) => html`<details key=${name} id=${name}><summary class="mono">${name}<span class="quiet">${schema.description?.split("\n")[0] ?? ""}</span></summary><pre>${pretty(schema)}</pre></details>`)}</section></main>`;
}

const place = document.getElementById("app");
const answer = await fetch("/openapi.json");
const description = await answer.json();
place.replaceChildren();
render(html`<${Page} document=${description} />`, place);
