// Drives web/twokey/twokey.js in Node. Reads one JSON object per line: {id, do, ...}; answers one per line.
import { createInterface } from "node:readline";

import { Gatekeeper, HolderKey, Refusal } from "../../web/twokey/twokey.js";

const gatekeeper = new Gatekeeper(process.argv[2]);
const holder = await HolderKey.create();
const hex = (bytes) => Buffer.from(bytes).toString("hex");

const actions = {
  holder: () => ({ sha256: hex(holder.sha256), extractable: holder.privateKey.extractable }),
  async coSign({ envelope, options }) {
    const answer = await gatekeeper.coSign(envelope, options);
    return { signatures: answer.envelope.signatures.length, record: String(answer.record) };
  },
  async fetch({ envelope, options }) {
    const progress = [];
    const { head, blob, tail } = await gatekeeper.fetchBlob(envelope,
      { ...options, onProgress: (bytes, total) => progress.push([bytes, total]) });
    return { type: blob.type, size: blob.size, sha256: hex(tail.sha256), last: progress.at(-1), first: String(head.first) };
  },
  async abort({ envelope, after }) {
    const stop = new AbortController();
    const { stream } = await gatekeeper.fetch(envelope, { signal: stop.signal });
    let bytes = 0;
    for await (const chunk of stream) {
      bytes += chunk.length;
      if (bytes >= after) stop.abort();
    }
    return { bytes };
  },
  async cancel({ envelope }) {
    const { stream } = await gatekeeper.fetch(envelope);
    const reader = stream.getReader();
    const { value } = await reader.read();
    await reader.cancel();
    return { bytes: value.length };
  },
  async store({ envelope, bytes, type, options }) {
    const progress = [];
    const body = new Blob([new Uint8Array(bytes).fill(7)], { type });
    const answer = await gatekeeper.store(envelope, body, { ...options, onProgress: (sent, all) => progress.push([sent, all]) });
    return { bytes: Number(answer.bytes), record: String(answer.record), receipt: answer.receipt.payloadType, last: progress.at(-1) };
  },
  async list({ envelope }) {
    const { objects } = await gatekeeper.list(envelope);
    return objects.map((entry) => entry.object);
  },
  async remove({ envelope }) {
    return { record: String((await gatekeeper.remove(envelope)).record) };
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const asked = JSON.parse(line);
  if (asked.options?.holder) asked.options.holder = holder;
  try {
    console.log(JSON.stringify({ ok: await actions[asked.do](asked) }));
  } catch (error) {
    console.log(JSON.stringify({
      name: error.name, code: error.code, status: error.status, reason: error.reason, message: error.message,
      record: error.record == null ? null : String(error.record), refusal: error instanceof Refusal,
    }));
  }
}
