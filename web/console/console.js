/* The operator console: the record, what it adds up to, restrictions, explanations. Everything comes from this listener,
 * and needs the operator's (or auditor's) client certificate; every look is itself on record. */
import {
  ChangeResponseSchema, Decision, Event, ExplainRequestSchema, ExplainResponseSchema, HealthCheckRequestSchema,
  HealthCheckResponseSchema, ListRestrictionsRequestSchema, ListRestrictionsResponseSchema, LockdownRequestSchema, RecordSchema,
  ReinstateRequestSchema, RestrictionScope, RevokeRequestSchema, SearchRequestSchema, SearchResponseSchema,
  SetExpiryRequestSchema, TailRequestSchema, toJson,
} from "./messages.js";
import { Refusal, Transport } from "./twokey.js";

const PAGE = 500;
const SHOWN_MAX = 5000;
const BINS = 60;
const transport = new Transport(location.origin, { credentials: "same-origin" });
const byId = (id) => document.getElementById(id);
const wordOf = (names, value) => (names[value] ?? String(value)).toLowerCase().replaceAll("_", " ");
const timeOf = (time) => (time ? new Date(Number(time.seconds) * 1000 + time.nanos / 1e6) : null);
let records = [];
let tailing = null;

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function words(error) {
  const reason = error instanceof Refusal && error.reason ? `${error.reason}: ` : "";
  return `${reason}${error.message}${error.record == null ? "" : ` (record ${error.record})`}`;
}

/* Whatever fails is said at the top; nothing fails silently. */
function guarded(action) {
  return async (...args) => {
    byId("trouble").textContent = "";
    try {
      await action(...args);
    } catch (error) {
      if (error.name !== "AbortError") byId("trouble").textContent = words(error);
    }
  };
}

/* ---- the record ---- */

function filters() {
  const fields = Object.fromEntries(new FormData(byId("search")));
  return { ...fields, decision: Number(fields.decision), country: fields.country.toUpperCase() };
}

function rowOf(record) {
  const row = element("tr");
  const decision = record.decision === Decision.UNSPECIFIED ? "" : wordOf(Decision, record.decision);
  row.tabIndex = 0;
  row.dataset.index = String(record.index);
  for (const text of [record.index, timeOf(record.time)?.toISOString().slice(0, 19).replace("T", " "), wordOf(Event, record.event)])
    row.append(element("td", String(text ?? "")));
  row.append(element("td", decision, decision));
  for (const text of [record.reason || record.outcome, record.subject || record.identity, record.object, record.address]) {
    const cell = element("td", text);
    cell.title = text;
    row.append(cell);
  }
  return row;
}

function draw() {
  byId("rows").replaceChildren(...records.map(rowOf));
  drawFigures();
}

const search = guarded(async (before) => {
  const request = { ...filters(), limit: PAGE, count: true };
  if (before !== undefined) request.cursor = { case: "beforeIndex", value: before };
  const got = [];
  let tail;
  for await (const page of transport.stream("/twokey.v1.Audit/Search", SearchRequestSchema, request, SearchResponseSchema)) {
    got.push(...page.records);
    tail = page.tail ?? tail;
  }
  records = before === undefined ? got : [...records, ...got];
  byId("more").hidden = !tail?.more;
  byId("found").textContent = `${records.length} shown, ${before === undefined ? tail?.total : "more"} match; ${tail?.indexed} of ${tail?.committed} records are searchable`;
  draw();
});

const follow = guarded(async () => {
  tailing?.abort();
  tailing = null;
  if (!byId("live").checked) return;
  const mine = tailing = new AbortController();
  const { why, ...matching } = filters();
  for await (const page of transport.stream("/twokey.v1.Audit/Tail", TailRequestSchema, { matching }, SearchResponseSchema, { signal: mine.signal })) {
    records = [...page.records.toReversed(), ...records].slice(0, SHOWN_MAX);
    draw();
  }
});

function openRecord(row) {
  const record = records.find((one) => String(one.index) === row.dataset.index);
  byId("h-one").textContent = `Record ${record.index}`;
  byId("full").textContent = JSON.stringify(toJson(RecordSchema, record), null, 2);
  byId("one").showModal();
}

/* ---- figures ---- */

function drawTimeline() {
  const times = records.map((record) => timeOf(record.time)?.getTime()).filter(Boolean);
  const first = Math.min(...times), span = Math.max(...times) - first || 1;
  const bins = Array.from({ length: BINS }, () => [0, 0]);
  for (const record of records) {
    const time = timeOf(record.time)?.getTime();
    if (time && record.decision) bins[Math.min(BINS - 1, Math.floor((time - first) / span * BINS))][record.decision - 1] += 1;
  }
  const most = Math.max(1, ...bins.map(([granted, denied]) => granted + denied));
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", `0 0 ${BINS} 100`);
  svg.setAttribute("preserveAspectRatio", "none");
  const bar = (x, from, height, name) => {
    const rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    for (const [key, value] of Object.entries({ x: x + 0.1, y: 100 - from - height, width: 0.8, height })) rect.setAttribute(key, value);
    rect.setAttribute("class", name);
    svg.append(rect);
  };
  bins.forEach(([granted, denied], x) => {
    bar(x, 0, granted / most * 100, "granted");
    bar(x, granted / most * 100, denied / most * 100, "denied");
  });
  const sum = (which) => bins.reduce((all, bin) => all + bin[which], 0);
  byId("timeline").setAttribute("aria-label", `Grants and refusals over time: ${sum(0)} granted, ${sum(1)} denied`);
  byId("timeline").replaceChildren(svg);
}

const networkOf = (address) => (address.includes(":") ? `${address.split(":").slice(0, 4).join(":")}::/64` : address.replace(/\.\d+$/, ".0/24"));

function drawBars(id, valueOf) {
  const counts = new Map();
  for (const record of records) {
    const value = valueOf(record);
    if (value) counts.set(value, (counts.get(value) ?? 0) + 1);
  }
  const top = [...counts].sort((a, b) => b[1] - a[1]).slice(0, 8);
  byId(id).replaceChildren(...top.flatMap(([value, n]) => {
    const term = element("dt", value), meter = element("meter"), bar = element("dd"), number = element("dd", String(n));
    term.title = value;
    meter.max = top[0][1];
    meter.value = n;
    bar.append(meter);
    return [term, bar, number];
  }));
}

function drawFigures() {
  drawTimeline();
  drawBars("countries", (record) => record.country || (record.address && "unknown"));
  drawBars("networks", (record) => record.address && networkOf(record.address));
  drawBars("users", (record) => record.subject);
  drawBars("objects", (record) => record.object);
}

/* ---- restrictions ---- */

function restrictionText(restriction) {
  const { what } = restriction;
  const done = { revoked: "revoked", lockdown: "locked down", users: `for ${what.value?.users?.join(", ") || "nobody"} only` }[what.case] ??
    `expires ${timeOf(what.value)?.toISOString()}`;
  return `${wordOf(RestrictionScope, restriction.scope)} ${restriction.name}: ${done}, by ${restriction.who}, because: ${restriction.why} (record ${restriction.record})`;
}

const listRestrictions = guarded(async () => {
  const items = [];
  for await (const page of transport.stream("/twokey.v1.Policy/ListRestrictions", ListRestrictionsRequestSchema, {}, ListRestrictionsResponseSchema))
    items.push(...page.restrictions.map((restriction) => element("li", restrictionText(restriction))));
  byId("restricted").replaceChildren(...(items.length ? items : [element("li", "none")]));
});

function changeOf({ action, kind, name, expires, why }) {
  const named = kind === "object" || kind === "prefix" ? { bucket: "", object: name } : name;
  const target = { target: { case: kind, value: named } };
  switch (action) {
    case "Revoke":
      return ["Revoke", RevokeRequestSchema, { target, why }];
    case "Reinstate":
      return ["Reinstate", ReinstateRequestSchema, { target, why }];
    case "SetExpiry":
      return ["SetExpiry", SetExpiryRequestSchema, { what: { case: kind, value: named }, why,
        expiresAt: expires ? { seconds: BigInt(Math.floor(new Date(expires).getTime() / 1000)), nanos: 0 } : undefined }];
    default:
      return ["Lockdown", LockdownRequestSchema, { release: action === "Release", why }];
  }
}

const change = guarded(async (event) => {
  const [method, type, request] = changeOf(Object.fromEntries(new FormData(event.target)));
  byId("changed").textContent = "…";
  try {
    const answer = await transport.unary(`/twokey.v1.Policy/${method}`, type, request, ChangeResponseSchema);
    byId("changed").textContent = `Done: record ${answer.record}.`;
  } catch (error) {
    byId("changed").textContent = "Not done.";
    throw error;
  }
  await listRestrictions();
});

/* ---- explain, health ---- */

const explain = guarded(async (event) => {
  const fields = Object.fromEntries(new FormData(event.target));
  const request = { what: { case: "request", value: { ...fields, operation: Number(fields.operation), hasPurpose: true, hasConsent: true } } };
  for await (const { part } of transport.stream("/twokey.v1.Policy/Explain", ExplainRequestSchema, request, ExplainResponseSchema)) {
    const { allowed, reason, rule, restriction, country, rules } = part.value;
    byId("explained").textContent = [`${allowed ? "allowed" : `denied: ${reason}`} by rule ${rule}`,
      ...(restriction ? [`restricted: ${restriction}`] : []), `country: ${country || "unknown"}`,
      ...rules.map((one) => `${one.decides ? "→" : " "} ${one.rule}: ${one.allow ? "allow" : "deny"}${one.matches ? ", matches" : `, no match: ${one.failed}`}`)].join("\n");
  }
});

async function health() {
  try {
    const { status } = await transport.unary("/grpc.health.v1.Health/Check", HealthCheckRequestSchema, {}, HealthCheckResponseSchema);
    byId("health").textContent = status === 1 ? "token, ledger and bucket: well" : "not serving: the token, the ledger or the bucket cannot be used (see the log)";
    byId("health").className = status === 1 ? "granted" : "denied";
  } catch (error) {
    byId("health").textContent = words(error);
    byId("health").className = "denied";
  }
}

/* ---- wiring ---- */

const submit = (id, action) => byId(id).addEventListener("submit", (event) => {
  event.preventDefault();
  action(event);
});
submit("search", async () => {
  await search();
  follow();
});
submit("change", change);
submit("ask", explain);
byId("live").addEventListener("change", follow);
byId("more").addEventListener("click", () => search(records.at(-1).index));
byId("rows").addEventListener("click", (event) => openRecord(event.target.closest("tr")));
byId("rows").addEventListener("keydown", (event) => {
  const row = event.target.closest("tr");
  if (event.key === "Enter") openRecord(row);
  else if (event.key === "ArrowDown") row.nextElementSibling?.focus();
  else if (event.key === "ArrowUp") row.previousElementSibling?.focus();
  else return;
  event.preventDefault();
});
setInterval(health, 5000);
await Promise.all([health(), search(), listRestrictions()]);
document.body.dataset.ready = "yes";
