/* An example of a vendor's page. It asks its own backend for transactions, and the customer's gatekeeper for the bytes. */
import { Gatekeeper, HolderKey, Refusal } from "./twokey.js";

/* What a person is told. The number finds the refusal in the customer's record. */
const WORDS = {
  REVOKED: "The customer has taken this back.",
  LOCKDOWN: "The customer has stopped all access for now.",
  OBJECT_EXPIRED: "The customer lets this be seen for a limited time only, and that is over.",
  OBJECT_NOT_FOUND: "This is not there any more.",
  OBJECT_EXISTS: "There is a file of that name already.",
  NETWORK_DENIED: "The customer does not allow this from your network.",
  COUNTRY_DENIED: "The customer does not allow this from your country.",
  HOURS_DENIED: "The customer does not allow this at this time of day.",
  USER_NOT_LISTED: "The customer has opened this to other people only.",
  RULE_DENIED: "The customer's rules do not allow this.",
  RATE_LIMITED: "That was a lot at once. Please try again later.",
  OVERLOADED: "The customer's gatekeeper is busy. Please try again in a moment.",
  EXPIRED: "This page is too old. Please reload it.",
};
const byId = (id) => document.getElementById(id);

function words(error) {
  if (!(error instanceof Refusal)) return `Something went wrong: ${error.message}`;
  const text = WORDS[error.reason] ?? `${error.message[0].toUpperCase()}${error.message.slice(1)}.`;
  return error.record === null ? text : `${text} To ask why, quote number ${error.record} to the customer's operator.`;
}

async function vendor(path, body) {
  const response = await fetch(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  if (!response.ok) throw new Error(await response.text());
  return response.json();
}

function tell(text, kind) {
  const item = document.createElement("li");
  const time = document.createElement("time");
  time.textContent = new Date().toLocaleTimeString();
  item.append(time, ` ${text}`);
  item.className = kind;
  byId("timeline").append(item);
}

function card(name) {
  const article = document.createElement("article");
  const title = document.createElement("h3");
  const progress = document.createElement("progress");
  title.textContent = name;
  progress.max = 1;
  progress.value = 0;
  article.append(title, progress);
  article.dataset.object = name;
  byId("parts").append(article);
  return { article, progress };
}

async function render(blob, article) {
  if (blob.type.startsWith("image/")) {
    const image = document.createElement("img");
    image.alt = article.dataset.object;
    image.src = URL.createObjectURL(blob);
    await image.decode();
    URL.revokeObjectURL(image.src);
    article.append(image);
  } else if (blob.type.startsWith("text/")) {
    const pre = document.createElement("pre");
    pre.textContent = await blob.text();
    article.append(pre);
  } else {
    article.append(`${blob.size} bytes`);
  }
}

async function show(gatekeeper, { object, envelope }) {
  const { article, progress } = card(object);
  try {
    const { blob } = await gatekeeper.fetchBlob(envelope, { onProgress: (bytes, total) => { progress.value = total ? bytes / total : 1; } });
    await render(blob, article);
    article.className = "done";
    tell(`${object}: shown`, "done");
  } catch (error) {
    const why = document.createElement("p");
    why.className = "refused";
    why.textContent = words(error);
    article.append(why);
    article.className = "refused";
    tell(`${object}: ${words(error)}`, "refused");
  }
  progress.remove();
}

async function add(gatekeeper, holder, report) {
  const [file] = byId("file").files;
  try {
    const { envelope } = await vendor("/api/store", { report, name: file.name, bytes: file.size, type: file.type, holder });
    const answer = await gatekeeper.store(envelope, file, { onProgress: (sent, all) => { byId("added").textContent = `${sent} of ${all ?? "?"} bytes`; } });
    byId("added").textContent = `Stored. The receipt names record ${answer.record}.`;
    byId("added").className = "done";
  } catch (error) {
    byId("added").textContent = words(error);
    byId("added").className = "refused";
  }
}

const report = new URLSearchParams(location.search).get("report") ?? "7";
byId("name").textContent = report;
try {
  const key = await HolderKey.create();
  const holder = [...key.sha256].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  const { gatekeeper: url, parts } = await vendor("/api/report", { report, holder });
  const gatekeeper = new Gatekeeper(url, { holder: key });
  byId("add").addEventListener("submit", (event) => {
    event.preventDefault();
    add(gatekeeper, holder, report);
  });
  await Promise.all(parts.map((part) => show(gatekeeper, part)));
} catch (error) {
  tell(words(error), "refused");
}
document.body.dataset.ready = "yes";
