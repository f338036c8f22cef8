// Independent clients of the HTTP front: @connectrpc/connect-web and grpc-web, as their users use them.
// Usage: node clients.mjs FOLDER URL GOOD GOOD2 SPENT BIG    FOLDER: of the modules and the generated messages; envelopes in base64.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [folder, url, good, good2, spent, big] = process.argv.slice(2);
const require = createRequire(`${folder}/`);
const load = (name) => import(pathToFileURL(require.resolve(name)).href);
const { createClient, ConnectError, Code } = await load("@connectrpc/connect");
const { createGrpcWebTransport } = await load("@connectrpc/connect-web");
const { fromBinary } = await load("@bufbuild/protobuf");
const messages = await import(pathToFileURL(`${folder}/gen/twokey/v1/gatekeeper_pb.js`).href);
const { EnvelopeSchema } = await import(pathToFileURL(`${folder}/gen/twokey/v1/transaction_pb.js`).href);
const details = await import(pathToFileURL(`${folder}/gen/google/rpc/error_details_pb.js`).href);
const health = await import(pathToFileURL(`${folder}/gen/grpc/health/v1/health_pb.js`).href);
const bytes = (text) => new Uint8Array(Buffer.from(text, "base64"));
const envelope = (text) => fromBinary(EnvelopeSchema, bytes(text));
const result = { connect: {}, grpcweb: {} };

async function refused(promise) {
  try {
    await promise;
  } catch (error) {
    const info = ConnectError.from(error).findDetails(details.ErrorInfoSchema)[0];
    return { code: Code[error.code], reason: info?.reason, record: info?.metadata.record };
  }
  return "granted";
}

async function drain(stream) {
  let sum = 0;
  for await (const { part } of stream) if (part.case === "chunk") sum += part.value.length;
  return sum;
}

const transport = createGrpcWebTransport({ baseUrl: url });
const client = createClient(messages.Gatekeeper, transport);
const watcher = createClient(health.Health, transport);
result.connect.unary = (await client.coSign({ envelope: envelope(good) })).envelope.signatures.length;
result.connect.stream = await drain(client.fetch({ envelope: envelope(good) }));
result.connect.refusal = await refused(drain(client.fetch({ envelope: envelope(spent) })));
result.connect.deadline = await refused((async () => { for await (const _ of watcher.watch({}, { timeoutMs: 300 })); })());
const stop = new AbortController();
result.connect.abort = await refused((async () => {
  for await (const _ of client.fetch({ envelope: envelope(big) }, { signal: stop.signal })) stop.abort();
})());

globalThis.XMLHttpRequest = require("xhr2");
const { GrpcWebClientBase, MethodDescriptor, MethodType } = require("grpc-web");
const raw = (path, type) => new MethodDescriptor(path, type, Uint8Array, Uint8Array, (x) => x, (x) => x);
// The requests' first field is the envelope, a message.
function request(text) {
  const message = bytes(text), length = [];
  for (let n = message.length; ; n >>>= 7) {
    length.push(n > 127 ? (n & 127) | 128 : n);
    if (n <= 127) break;
  }
  return Uint8Array.from([0x0a, ...length, ...message]);
}
for (const format of ["binary", "text"]) {
  const web = new GrpcWebClientBase({ format });
  const unary = (path, body, metadata = {}) => new Promise((resolve) => web.rpcCall(url + path, body, metadata, raw(path, MethodType.UNARY),
    (error, response) => resolve(error ? { code: error.code, message: error.message } : { bytes: response.length })));
  const stream = (path, body) => new Promise((resolve) => {
    let n = 0, sum = 0;
    const call = web.serverStreaming(url + path, body, {}, raw(path, MethodType.SERVER_STREAMING));
    call.on("data", (message) => { n += 1; sum += message.length; });
    call.on("error", (error) => resolve({ code: error.code, message: error.message }));
    call.on("end", () => resolve({ n, sum }));
  });
  const fetch = "/twokey.v1.Gatekeeper/Fetch";
  result.grpcweb[format] = {
    unary: await unary("/twokey.v1.Gatekeeper/CoSign", request(good2)),
    refusal: await stream(fetch, request(spent)),
    unknown: await unary("/twokey.v1.Gatekeeper/Nothing", new Uint8Array()),
    ...(format === "binary" ? { stream: await stream(fetch, request(good2)) } : {}),
  };
}
console.log(JSON.stringify(result));
process.exit(0);
