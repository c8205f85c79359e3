// Models in onnxruntime-web, asked for and answered in messages: four bytes of length, a header in JSON, then its bytes.
//
//   {load: true, bytes}                               a model              -> {session, inputs, outputs}
//   {run: session, feeds: [{name, type, dims, bytes}]}  and their elements   -> {results: [{name, type, dims, bytes}]}
//   {release: session}                                                     -> {}
//
// What goes wrong is answered as {error}.

const ARRAYS = {
  float32: Float32Array, float64: Float64Array, float16: globalThis.Float16Array ?? Uint16Array, bool: Uint8Array,
  int8: Int8Array, int16: Int16Array, int32: Int32Array, int64: BigInt64Array,
  uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array, uint64: BigUint64Array,
};

export class Runner {
  constructor(ort) {
    this.ort = ort;
    this.sessions = new Map();
    this.count = 0;
  }

  // The answer to a message, both as Uint8Array.
  async answer(message) {
    const length = new DataView(message.buffer, message.byteOffset).getUint32(0, true);
    const header = JSON.parse(new TextDecoder().decode(message.subarray(4, 4 + length)));
    try {
      return await this.#answer(header, message.subarray(4 + length));
    } catch (error) {
      return encoded({ error: String(error?.message ?? error) || "failed" });
    }
  }

  async #answer(header, content) {
    if (header.load) {
      const options = { executionProviders: ["wasm"], logSeverityLevel: 4 };
      const session = await this.ort.InferenceSession.create(content.slice(), options);
      this.sessions.set(++this.count, session);
      return encoded({ session: this.count, inputs: session.inputNames, outputs: session.outputNames });
    }
    if (header.release) {
      await this.sessions.get(header.release)?.release();
      this.sessions.delete(header.release);
      return encoded({});
    }
    const feeds = {};
    let at = 0;
    for (const { name, type, dims, bytes } of header.feeds) {
      const elements = content.slice(at, at + bytes).buffer;
      feeds[name] = new this.ort.Tensor(type, new ARRAYS[type](elements), dims);
      at += bytes;
    }
    const results = await this.sessions.get(header.run).run(feeds);
    const parts = Object.entries(results).map(([name, { type, dims, data }]) => ({
      type, dims, name, content: new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
    }));
    const described = parts.map(({ content, ...part }) => ({ ...part, bytes: content.length }));
    return encoded({ results: described }, ...parts.map((part) => part.content));
  }
}

function encoded(header, ...contents) {
  const text = new TextEncoder().encode(JSON.stringify(header));
  const parts = [new Uint8Array(Uint32Array.of(text.length).buffer), text, ...contents];
  const message = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    message.set(part, at);
    at += part.length;
  }
  return message;
}
