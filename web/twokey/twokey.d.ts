/** Types of twokey.js. Messages have the fields of proto/twokey/v1 in camelCase; 64-bit numbers are bigint. */

export declare const CODES: readonly string[];

export declare class Refusal extends Error {
  /** gRPC status code. */
  readonly code: number;
  /** Its name: "PERMISSION_DENIED". */
  readonly status: string;
  /** A reason of docs/PROTOCOL.md: "REVOKED"; "" when there is none. */
  readonly reason: string;
  /** Index of the audit record, to quote to the operator. */
  readonly record: bigint | null;
}

export interface Envelope {
  payload: Uint8Array;
  payloadType: string;
  signatures: { sig: Uint8Array; keyid: string }[];
}
export type EnvelopeLike = Envelope | Uint8Array | string;
export declare function envelopeOf(envelope: EnvelopeLike): Envelope;

export interface HolderProof {
  publicKey: Uint8Array;
  statement: Uint8Array;
  signature: Uint8Array;
}

export declare class HolderKey {
  static create(): Promise<HolderKey>;
  readonly privateKey: CryptoKey;
  readonly spki: Uint8Array;
  readonly sha256: Uint8Array;
  prove(envelope: Envelope, method: string): Promise<HolderProof>;
}

export interface CallOptions {
  signal?: AbortSignal;
  timeoutMs?: number;
  holder?: HolderKey;
}
export interface TransferOptions extends CallOptions {
  onProgress?: (bytes: number, total: number | undefined) => void;
}

export interface FetchHead {
  contentType: string;
  size: bigint;
  objectSize: bigint;
  first: bigint;
  versionId: string;
  envelope?: Envelope;
  record: bigint;
}
export interface FetchTail { bytes: bigint; sha256: Uint8Array; receipt?: Envelope }
export interface StoreResponse {
  bytes: bigint;
  sha256: Uint8Array;
  versionId: string;
  envelope?: Envelope;
  receipt?: Envelope;
  record: bigint;
}
export interface ObjectEntry {
  object: string;
  size: bigint;
  storedSize: bigint;
  modified?: { seconds: bigint; nanos: number };
}

export declare class Transport {
  constructor(url: string, options?: { credentials?: RequestCredentials; fetch?: typeof fetch });
  stream(path: string, requestType: object, request: object, responseType: object, options?: CallOptions): AsyncGenerator<any>;
  unary(path: string, requestType: object, request: object, responseType: object, options?: CallOptions): Promise<any>;
}

export declare class Gatekeeper {
  constructor(url: string, options?: { holder?: HolderKey; credentials?: RequestCredentials; fetch?: typeof fetch });
  coSign(envelope: EnvelopeLike, options?: CallOptions): Promise<{ envelope?: Envelope; record: bigint }>;
  fetch(envelope: EnvelopeLike, options?: TransferOptions):
    Promise<{ head: FetchHead; stream: ReadableStream<Uint8Array>; tail: Promise<FetchTail> }>;
  fetchBlob(envelope: EnvelopeLike, options?: TransferOptions): Promise<{ head: FetchHead; blob: Blob; tail: FetchTail }>;
  fetchUrl(envelope: EnvelopeLike, options?: TransferOptions):
    Promise<{ head: FetchHead; blob: Blob; tail: FetchTail; url: string; revoke: () => void }>;
  store(envelope: EnvelopeLike, body: Blob | Uint8Array, options?: TransferOptions & { contentType?: string }):
    Promise<StoreResponse>;
  list(envelope: EnvelopeLike, options?: CallOptions):
    Promise<{ objects: ObjectEntry[]; tail: { count: bigint; receipt?: Envelope; record: bigint } }>;
  remove(envelope: EnvelopeLike, options?: CallOptions): Promise<{ envelope?: Envelope; receipt?: Envelope; record: bigint }>;
}
