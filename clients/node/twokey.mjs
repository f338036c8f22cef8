// A client of twokey on @grpc/grpc-js: what docs/PROTOCOL.md asks of one, and no more.
import { createHash, generateKeyPairSync, randomBytes, sign } from "node:crypto";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

const SERVICE = "/twokey.v1.Gatekeeper/";
const HOLDER_TYPE = "application/vnd.twokey.holder-statement.v1+protobuf";
const CHUNK = 256 << 10; // travels best

const proto = process.env.TWOKEY_PROTO ?? fileURLToPath(new URL("../../proto", import.meta.url));
const messages = loadSync(
  ["twokey/v1/gatekeeper.proto", "google/rpc/status.proto", "google/rpc/error_details.proto"],
  { includeDirs: [proto], longs: Number, enums: String, defaults: true, oneofs: true },
);
const { Gatekeeper } = grpc.loadPackageDefinition(messages).twokey.v1;

/** DSSE's pre-authentication encoding: the bytes that are signed. */
export function pae(type, body) {
  return Buffer.concat([Buffer.from(`DSSEv1 ${Buffer.byteLength(type)} ${type} ${body.length} `), body]);
}

const sha256 = (bytes) => createHash("sha256").update(bytes).digest();

/** A key pair of the data client's own: a transaction that names it is of use to its holder only. */
export class HolderKey {
  constructor() {
    const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    this.privateKey = privateKey;
    this.spki = publicKey.export({ type: "spki", format: "der" });
  }

  /** What a transaction names the key by. */
  get sha256() {
    return sha256(this.spki);
  }

  /** A proof for one call; it counts once. */
  prove(envelope, method, now = Date.now()) {
    const statement = messages["twokey.v1.HolderStatement"].serialize({
      transactionSha256: sha256(pae(envelope.payloadType, envelope.payload)),
      method: SERVICE + method,
      time: { seconds: Math.floor(now / 1000), nanos: (now % 1000) * 1e6 },
      nonce: randomBytes(16),
    });
    const signature = sign("sha256", pae(HOLDER_TYPE, statement), { key: this.privateKey, dsaEncoding: "ieee-p1363" });
    return { publicKey: this.spki, statement, signature };
  }
}

/** A deployment's answer, when it is no: `reason` is a stable word, `record` what an operator finds the decision by. */
export class Refused extends Error {
  constructor(error) {
    const details = error.metadata?.get("grpc-status-details-bin")[0];
    const any = details && messages["google.rpc.Status"].deserialize(details).details[0];
    const info = any && messages["google.rpc.ErrorInfo"].deserialize(any.value);
    super(`${info?.reason ?? grpc.status[error.code]}: ${error.details}`);
    this.code = error.code;
    this.reason = info?.reason ?? "";
    this.record = info?.metadata?.record;
  }
}

/** One deployment. tls: { ca, certificate, key }, names of PEM files; the last two where a client certificate is needed. */
export class Client {
  constructor(address, tls, holder) {
    const read = (path) => (path ? readFileSync(path) : null);
    this.stub = new Gatekeeper(address, grpc.credentials.createSsl(read(tls.ca), read(tls.key), read(tls.certificate)));
    this.holder = holder;
  }

  close() {
    this.stub.close();
  }

  /** The vendor's: { operation: "OPERATION_GET", gatekeeper, bucket, object, subject, ... }. Resolves to an envelope. */
  async authorize(request) {
    return (await this.#ask("authorize", request)).envelope;
  }

  async cosign(envelope) {
    return (await this.#ask("coSign", { envelope, proof: this.#proof(envelope, "CoSign") })).envelope;
  }

  /** Resolves to { head, data, tail } when all of it has come, and is what was sent. */
  async fetch(envelope) {
    const call = this.stub.fetch({ envelope, proof: this.#proof(envelope, "Fetch") });
    const chunks = [];
    let head, tail;
    try {
      for await (const response of call) {
        if (response.part === "head") head = response.head;
        else if (response.part === "chunk") chunks.push(response.chunk);
        else if (response.part === "tail") tail = response.tail;
      }
    } catch (error) {
      throw new Refused(error);
    }
    const data = Buffer.concat(chunks);
    if (!tail || tail.bytes !== data.length || !sha256(data).equals(tail.sha256)) throw new Error("the object is not whole");
    return { head, data, tail };
  }

  /** Stores bytes. Nothing is visible in the bucket before all has arrived. */
  async store(envelope, data, contentType = "") {
    let call;
    const answer = new Promise((resolve, reject) => {
      call = this.stub.store((error, response) => (error ? reject(new Refused(error)) : resolve(response)));
    });
    const send = (message) => call.write(message) || new Promise((go) => call.once("drain", go));
    const sending = (async () => {
      await send({ head: { envelope, proof: this.#proof(envelope, "Store"), contentType } });
      for (let at = 0; at < data.length; at += CHUNK) await send({ chunk: data.subarray(at, at + CHUNK) });
      await send({ tail: { bytes: data.length, sha256: sha256(data) } });
      call.end();
    })();
    // A refusal ends the call while we may still wait for room to send.
    return Promise.race([answer, sending.then(() => answer)]);
  }

  #proof(envelope, method) {
    return this.holder?.prove(envelope, method);
  }

  #ask(method, request) {
    return new Promise((resolve, reject) => {
      this.stub[method](request, { deadline: Date.now() + 60_000 }, (error, response) =>
        error ? reject(new Refused(error)) : resolve(response));
    });
  }
}
