// Puts a file through both signatures and gets it out again, with a holder key of our own.
// Usage: node example.mjs FILE BUCKET/KEY
// Environment: TWOKEY_VENDOR, TWOKEY_GATEKEEPER, TWOKEY_GATEKEEPER_NAME, TWOKEY_CA, TWOKEY_CERT, TWOKEY_KEY, TWOKEY_SUBJECT
import { readFileSync } from "node:fs";
import { Client, HolderKey, Refused } from "./twokey.mjs";

const { env } = process;
const [file, where] = process.argv.slice(2);
const slash = where.indexOf("/");
const holder = new HolderKey();
const vendor = new Client(env.TWOKEY_VENDOR, { ca: env.TWOKEY_CA, certificate: env.TWOKEY_CERT, key: env.TWOKEY_KEY });
const gatekeeper = new Client(env.TWOKEY_GATEKEEPER, { ca: env.TWOKEY_CA }, holder);

const authorize = (operation) => vendor.authorize({
  operation: `OPERATION_${operation}`,
  gatekeeper: env.TWOKEY_GATEKEEPER_NAME,
  bucket: where.slice(0, slash),
  object: where.slice(slash + 1),
  subject: env.TWOKEY_SUBJECT,
  constraints: { holderKeySha256: holder.sha256 },
});

try {
  const data = readFileSync(file);
  const cosigned = await gatekeeper.cosign(await authorize("PUT"));
  const stored = await gatekeeper.store(cosigned, data, "application/octet-stream");
  console.log(`stored ${stored.bytes} bytes, record ${stored.record}, ${cosigned.signatures.length} signatures`);

  const envelope = await authorize("GET"); // one signature: Fetch co-signs in the same call
  const fetched = await gatekeeper.fetch(envelope);
  console.log(`fetched ${fetched.tail.bytes} bytes, ${fetched.data.equals(data) ? "the same" : "NOT THE SAME"}`);

  // A thief has the envelope, and a key of their own.
  const thief = new Client(env.TWOKEY_GATEKEEPER, { ca: env.TWOKEY_CA }, new HolderKey());
  const refused = await thief.fetch(await authorize("GET")).catch((error) => error);
  thief.close();
  if (!(refused instanceof Refused)) throw new Error("a stolen envelope was of use");
  console.log(`a stolen envelope: ${refused.reason}, record ${refused.record}`);
} catch (error) {
  console.error(error instanceof Refused ? `${error.message} (record ${error.record})` : error);
  process.exitCode = error instanceof Refused ? 3 : 1;
} finally {
  vendor.close();
  gatekeeper.close();
}
