/**
 * Reads and writes objects straight at a twokey gatekeeper: gRPC-Web, and HTTP PUT for what is stored.
 * Works in current browsers and in Node 18 and later. No dependencies; messages.js beside it is generated.
 * @module
 */
import {
  CoSignRequestSchema, CoSignResponseSchema, EnvelopeSchema, ErrorInfoSchema, FetchRequestSchema, FetchResponseSchema,
  HolderProofSchema, HolderStatementSchema, ListRequestSchema, ListResponseSchema, RemoveRequestSchema,
  RemoveResponseSchema, StatusSchema, StoreResponseSchema, create, fromBinary, fromJson, toBinary,
} from "./messages.js";

const SERVICE = "/twokey.v1.Gatekeeper/";
const HOLDER_STATEMENT = "application/vnd.twokey.holder-statement.v1+protobuf";
const ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo";
const FRAME_BYTES = 5;
const TRAILERS = 0x80;
const MESSAGE_MAX = 4 << 20;

/** The names of gRPC's status codes. */
export const CODES = ["OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND",
  "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE",
  "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"];

/** Why something was refused, or went wrong. `reason` is one of docs/PROTOCOL.md's, or "" when nobody gave one. */
export class Refusal extends Error {
  constructor(code, message, { reason = "", record = null, cause } = {}) {
    super(message || CODES[code] || `status ${code}`, cause ? { cause } : undefined);
    this.name = "Refusal";
    this.code = code;
    this.status = CODES[code] ?? "UNKNOWN";
    this.reason = reason;
    this.record = record;
  }
}

/* ---- bytes ---- */

const utf8 = new TextEncoder();

async function webCrypto() {
  return globalThis.crypto?.subtle ? globalThis.crypto : (await import("node:crypto")).webcrypto;
}

async function sha256(bytes) {
  return new Uint8Array(await (await webCrypto()).subtle.digest("SHA-256", bytes));
}

function concat(parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function base64url(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

function unbase64(text) {
  return Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
}

const same = (a, b) => a.length === b.length && a.every((byte, i) => byte === b[i]);

/** DSSE's pre-authentication encoding. */
function pae(type, body) {
  return concat([utf8.encode(`DSSEv1 ${utf8.encode(type).length} ${type} ${body.length} `), body]);
}

/** An envelope from its serialised bytes, their base64, or the message itself. */
export function envelopeOf(envelope) {
  if (typeof envelope === "string") envelope = unbase64(envelope);
  return envelope instanceof Uint8Array ? fromBinary(EnvelopeSchema, envelope) : envelope;
}

/* ---- the holder's key ---- */

/** A key pair that cannot leave this browser: a transaction that names it is worth nothing to anybody else. */
export class HolderKey {
  constructor(privateKey, spki, digest) {
    this.privateKey = privateKey;
    this.spki = spki;
    /** What the vendor's backend puts into the transaction's constraints (holder_key_sha256). */
    this.sha256 = digest;
  }

  static async create() {
    const { subtle } = await webCrypto();
    const pair = await subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, false, ["sign"]);
    const spki = new Uint8Array(await subtle.exportKey("spki", pair.publicKey));
    return new HolderKey(pair.privateKey, spki, await sha256(spki));
  }

  /** A proof for one call. `method`: "/twokey.v1.Gatekeeper/Fetch". */
  async prove(envelope, method) {
    const crypto = await webCrypto();
    const now = Date.now();
    const statement = toBinary(HolderStatementSchema, create(HolderStatementSchema, {
      transactionSha256: await sha256(pae(envelope.payloadType, envelope.payload)),
      method,
      time: { seconds: BigInt(Math.floor(now / 1000)), nanos: (now % 1000) * 1e6 },
      nonce: crypto.getRandomValues(new Uint8Array(16)),
    }));
    const signature = new Uint8Array(await crypto.subtle.sign({ name: "ECDSA", hash: "SHA-256" }, this.privateKey,
      pae(HOLDER_STATEMENT, statement)));
    return create(HolderProofSchema, { publicKey: this.spki, statement, signature });
  }
}

/* ---- gRPC-Web ---- */

function frameOf(message) {
  const frame = new Uint8Array(FRAME_BYTES + message.length);
  new DataView(frame.buffer).setUint32(1, message.length);
  frame.set(message, FRAME_BYTES);
  return frame;
}

/** Frames of a response's body, as they come: {flags, bytes}. */
async function* frames(body) {
  const reader = body.getReader();
  let held = new Uint8Array(0);
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      held = held.length ? concat([held, value]) : value;
      while (held.length >= FRAME_BYTES) {
        const length = new DataView(held.buffer, held.byteOffset).getUint32(1);
        if (length > MESSAGE_MAX) throw new Refusal(13, "a message larger than any gatekeeper sends");
        if (held.length < FRAME_BYTES + length) break;
        yield { flags: held[0], bytes: held.subarray(FRAME_BYTES, FRAME_BYTES + length) };
        held = held.subarray(FRAME_BYTES + length);
      }
    }
    if (held.length) throw new Refusal(14, "the connection broke");
  } finally {
    reader.cancel().catch(() => {});
  }
}

function infoOf(details) {
  if (!details) return {};
  for (const any of fromBinary(StatusSchema, unbase64(details)).details) {
    if (any.typeUrl !== ERROR_INFO) continue;
    const info = fromBinary(ErrorInfoSchema, any.value);
    return { reason: info.reason, record: info.metadata.record === undefined ? null : BigInt(info.metadata.record) };
  }
  return {};
}

function checkTrailers(get) {
  const code = Number(get("grpc-status") ?? 2);
  if (code === 0) return;
  let message = get("grpc-message") ?? "";
  try {
    message = decodeURIComponent(message);
  } catch { /* as it is */ }
  throw new Refusal(code, message, infoOf(get("grpc-status-details-bin")));
}

function trailersOf(bytes) {
  const lines = new TextDecoder().decode(bytes).split("\r\n").filter(Boolean);
  const map = new Map(lines.map((line) => [line.slice(0, line.indexOf(":")).toLowerCase(), line.slice(line.indexOf(":") + 1).trim()]));
  return (name) => map.get(name);
}

/** What fetch() throws, as a Refusal; an abort stays what it is. */
function unreachable(error) {
  if (error instanceof Refusal || error?.name === "AbortError") return error;
  if (error?.name === "TimeoutError") return new Refusal(4, "the time allowed has passed", { cause: error });
  return new Refusal(14, "the gatekeeper cannot be reached", { cause: error });
}

function signalOf({ signal, timeoutMs }) {
  if (!timeoutMs) return signal;
  const timeout = AbortSignal.timeout(timeoutMs + 1000);
  if (!signal) return timeout;
  const both = new AbortController();
  for (const one of [signal, timeout]) {
    if (one.aborted) both.abort(one.reason);
    else one.addEventListener("abort", () => both.abort(one.reason), { once: true });
  }
  return both.signal;
}

/** Any method of a deployment over gRPC-Web. */
export class Transport {
  /** @param {string} url of the web listener: "https://gatekeeper.clinic.example:8443" */
  constructor(url, { credentials = "omit", fetch = globalThis.fetch.bind(globalThis) } = {}) {
    this.url = url.replace(/\/+$/, "");
    this.credentials = credentials;
    this.fetch = fetch;
  }

  async #ask(path, message, signal, options) {
    const headers = { "content-type": "application/grpc-web+proto", "x-grpc-web": "1" };
    if (options.timeoutMs) headers["grpc-timeout"] = `${Math.ceil(options.timeoutMs)}m`;
    const response = await this.fetch(this.url + path, {
      method: "POST", headers, body: frameOf(message), signal, credentials: this.credentials,
      mode: "cors", cache: "no-store", redirect: "error", referrerPolicy: "no-referrer",
    });
    if (!response.ok) throw new Refusal(response.status === 403 ? 7 : 14, (await response.text()).trim().slice(0, 300));
    return response;
  }

  /** The messages of a response, as they come. Ends with a Refusal unless the call went well. */
  async* stream(path, requestType, request, responseType, options = {}) {
    const signal = signalOf(options);
    try {
      const response = await this.#ask(path, toBinary(requestType, create(requestType, request)), signal, options);
      if (response.headers.get("grpc-status") !== null) {
        checkTrailers((name) => response.headers.get(name));
        return;
      }
      for await (const { flags, bytes } of frames(response.body)) {
        if (flags & TRAILERS) {
          checkTrailers(trailersOf(bytes));
          return;
        }
        signal?.throwIfAborted(); // what has come already would go on
        yield fromBinary(responseType, bytes);
      }
      throw new Refusal(14, "the connection broke");
    } catch (error) {
      throw unreachable(error);
    }
  }

  /** The only message of a response. */
  async unary(path, requestType, request, responseType, options = {}) {
    let answer;
    for await (const message of this.stream(path, requestType, request, responseType, options)) answer = message;
    if (!answer) throw new Refusal(13, "an answer without a message");
    return answer;
  }
}

/* ---- the gatekeeper ---- */

function xhrPut(url, headers, body, { signal, onProgress }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const abort = () => request.abort();
    request.open("PUT", url);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => onProgress?.(event.loaded, event.lengthComputable ? event.total : undefined);
    request.onload = () => resolve({ status: request.status, text: request.responseText });
    request.onerror = () => reject(new Refusal(14, "the gatekeeper cannot be reached"));
    request.onabort = () => reject(signal?.reason ?? new DOMException("aborted", "AbortError"));
    if (signal?.aborted) return reject(signal.reason);
    signal?.addEventListener("abort", abort, { once: true });
    request.send(body);
  });
}

async function fetchPut(url, headers, body, { signal, onProgress }) {
  const response = await fetch(url, { method: "PUT", headers, body, signal, credentials: "omit", duplex: "half" });
  onProgress?.(body.size ?? body.length, body.size ?? body.length);
  return { status: response.status, text: await response.text() };
}

function storeAnswer({ status, text }) {
  let json;
  try {
    json = JSON.parse(text);
  } catch {
    throw new Refusal(status === 403 ? 7 : 14, text.trim().slice(0, 300));
  }
  if (status === 200) return fromJson(StoreResponseSchema, json, { ignoreUnknownFields: true });
  const record = json.metadata?.record;
  throw new Refusal(json.code, json.message, { reason: json.reason, record: record === undefined ? null : BigInt(record) });
}

/** The methods of a gatekeeper. `holder`: a HolderKey, when the transactions name it. */
export class Gatekeeper {
  constructor(url, { holder, ...options } = {}) {
    this.holder = holder;
    this.transport = new Transport(url, options);
  }

  async #request(method, envelope, { holder = this.holder } = {}) {
    const message = envelopeOf(envelope);
    return { envelope: message, proof: holder ? await holder.prove(message, SERVICE + method) : undefined };
  }

  /** The second signature. */
  async coSign(envelope, options = {}) {
    return this.transport.unary(`${SERVICE}CoSign`, CoSignRequestSchema, await this.#request("CoSign", envelope, options),
      CoSignResponseSchema, options);
  }

  /**
   * An object as a stream. Resolves when the gatekeeper has granted it: to its head, a ReadableStream of its bytes, and
   * a promise of its tail. The stream fails when what came is not all.
   */
  async fetch(envelope, options = {}) {
    const request = await this.#request("Fetch", envelope, options);
    const messages = this.transport.stream(`${SERVICE}Fetch`, FetchRequestSchema, request, FetchResponseSchema, options);
    const first = await messages.next();
    if (first.done || first.value.part.case !== "head") throw new Refusal(13, "an answer without a head");
    const head = first.value.part.value;
    let received = 0, told;
    const tail = new Promise((resolve, reject) => { told = { resolve, reject }; });
    tail.catch(() => {});
    const finish = (part) => {
      if (part?.case !== "tail" || Number(part.value.bytes) !== received || Number(head.size) !== received)
        throw new Refusal(15, "the object did not come whole");
      told.resolve(part.value);
    };
    let last;
    const stream = new ReadableStream({
      async pull(controller) {
        try {
          for (;;) {
            const { done, value } = await messages.next();
            if (done) {
              finish(last);
              controller.close();
              return;
            }
            last = value.part;
            if (last.case !== "chunk") continue;
            received += last.value.length;
            options.onProgress?.(received, Number(head.size));
            controller.enqueue(last.value);
            return;
          }
        } catch (error) {
          told.reject(error);
          controller.error(error);
        }
      },
      async cancel(reason) {
        told.reject(reason);
        await messages.return();
      },
    }, { highWaterMark: 1 });
    return { head, stream, tail };
  }

  /** An object as a Blob, compared with the tail's SHA-256. */
  async fetchBlob(envelope, options = {}) {
    const { head, stream, tail } = await this.fetch(envelope, options);
    const parts = [];
    const reader = stream.getReader();
    for (let next = await reader.read(); !next.done; next = await reader.read()) parts.push(next.value);
    const blob = new Blob(parts, { type: head.contentType });
    const end = await tail;
    if (!same(await sha256(await blob.arrayBuffer()), end.sha256)) throw new Refusal(15, "the object is damaged");
    return { head, blob, tail: end };
  }

  /** An object's URL for <img src> and the like. Call revoke() when it is not needed any more. */
  async fetchUrl(envelope, options = {}) {
    const { head, blob, tail } = await this.fetchBlob(envelope, options);
    const url = URL.createObjectURL(blob);
    return { head, tail, blob, url, revoke: () => URL.revokeObjectURL(url) };
  }

  /** Stores a File, Blob or bytes. Refusals that need no bytes come before any is sent. */
  async store(envelope, body, options = {}) {
    const { envelope: signed } = await this.coSign(envelope, options);
    const { proof } = await this.#request("Store", signed, options);
    const headers = {
      "content-type": options.contentType ?? (body.type || "application/octet-stream"),
      "x-twokey-envelope": base64url(toBinary(EnvelopeSchema, signed)),
    };
    if (proof) headers["x-twokey-holder-proof"] = base64url(toBinary(HolderProofSchema, proof));
    const put = globalThis.XMLHttpRequest ? xhrPut : fetchPut;
    try {
      return storeAnswer(await put(`${this.transport.url}${SERVICE}Store`, headers, body, options));
    } catch (error) {
      throw unreachable(error);
    }
  }

  /** All objects below a prefix, and the tail with the receipt. */
  async list(envelope, options = {}) {
    const objects = [];
    let tail;
    for await (const page of this.transport.stream(`${SERVICE}List`, ListRequestSchema,
      await this.#request("List", envelope, options), ListResponseSchema, options)) {
      objects.push(...page.objects);
      tail = page.tail ?? tail;
    }
    if (!tail || Number(tail.count) !== objects.length) throw new Refusal(15, "the list did not come whole");
    return { objects, tail };
  }

  async remove(envelope, options = {}) {
    return this.transport.unary(`${SERVICE}Remove`, RemoveRequestSchema, await this.#request("Remove", envelope, options),
      RemoveResponseSchema, options);
  }
}
