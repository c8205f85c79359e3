// Answers the messages that come on standard input on standard output; each follows four bytes of its length.
import { createRequire } from "node:module";
import path from "node:path";

import { Runner } from "./runner.mjs";

const require = createRequire(path.join(process.argv[2], "package.json"));
const ort = require("onnxruntime-web");
ort.env.wasm.numThreads = 1;
ort.env.logLevel = "fatal";
console.log = console.error; // what the package prints is no answer
const runner = new Runner(ort);

let parts = [];
let size = 0;
for await (const chunk of process.stdin) {
  parts.push(chunk);
  size += chunk.length;
  while (size >= 4) {
    if (parts[0].length < 4) parts = [Buffer.concat(parts)];
    const end = 4 + parts[0].readUInt32LE(0);
    if (size < end) break;
    const all = Buffer.concat(parts);
    const answer = await runner.answer(new Uint8Array(all.subarray(4, end)));
    parts = [all.subarray(end)];
    size -= end;
    process.stdout.write(Buffer.from(Uint32Array.of(answer.length).buffer));
    process.stdout.write(answer);
  }
}
