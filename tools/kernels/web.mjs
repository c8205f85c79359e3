// Runs the models that come on standard input (four bytes of length, then the model); answers null or what went wrong.
import { createRequire } from "node:module";
import path from "node:path";

const require = createRequire(path.join(process.argv[2], "package.json"));
const ort = require("onnxruntime-web");
ort.env.wasm.numThreads = 1;
ort.env.logLevel = "fatal";
const options = { executionProviders: ["wasm"], graphOptimizationLevel: "disabled", logSeverityLevel: 4 };

async function complaint(model) {
  let session;
  try {
    session = await ort.InferenceSession.create(model, options);
    await session.run({});
    return null;
  } catch (error) {
    const message = String(error.message ?? error) || "failed";
    // The node ran: JavaScript has no array for the element type of its result.
    return message.startsWith("unsupported data type") ? null : message;
  } finally {
    await session?.release();
  }
}

let pending = Buffer.alloc(0);
for await (const chunk of process.stdin) {
  pending = Buffer.concat([pending, chunk]);
  while (pending.length >= 4 && pending.length >= 4 + pending.readUInt32LE(0)) {
    const end = 4 + pending.readUInt32LE(0);
    const answer = await complaint(new Uint8Array(pending.subarray(4, end)));
    pending = pending.subarray(end);
    process.stdout.write(JSON.stringify(answer) + "\n");
  }
}
