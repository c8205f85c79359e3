import * as ort from "./onnxruntime/ort.wasm.min.mjs";
import { WordPiece } from "./wordpiece.mjs";

ort.env.wasm.wasmPaths = new URL("./onnxruntime/", import.meta.url).href;
ort.env.wasm.numThreads = 1;

const element = (id) => document.getElementById(id);
const get = async (name) => (await fetch(name)).text();
const [vocabulary, lines] = await Promise.all([get("./vocab.txt"), get("./sentences.txt")]);
const tokenizer = new WordPiece(vocabulary);
const sentences = lines.trim().split("\n");
const session = await ort.InferenceSession.create("./sentences.onnx");

// Sentences as vectors of length one.
async function encode(texts) {
  const tokens = texts.map((text) => tokenizer.encode(text));
  const longest = Math.max(...tokens.map((row) => row.length));
  const dims = [texts.length, longest];
  const ids = new Int32Array(texts.length * longest);
  const mask = new Uint8Array(texts.length * longest);
  tokens.forEach((row, index) => {
    ids.set(row, index * longest);
    mask.fill(1, index * longest, index * longest + row.length);
  });
  const { vectors } = await session.run({ ids: new ort.Tensor("int32", ids, dims), mask: new ort.Tensor("bool", mask, dims) });
  const width = vectors.dims[1];
  return { tokens, vectors: texts.map((_, index) => vectors.data.slice(index * width, (index + 1) * width)) };
}

const cosine = (one, other) => one.reduce((sum, value, index) => sum + value * other[index], 0);
const known = await encode(sentences);

async function search() {
  const question = element("question").value;
  const begin = performance.now();
  const { vectors: [asked] } = await encode([question]);
  const took = performance.now() - begin;
  if (question !== element("question").value) return;
  const scores = known.vectors.map((vector, index) => [cosine(asked, vector), sentences[index]]);
  scores.sort(([one], [other]) => other - one);
  element("answers").replaceChildren(...scores.slice(0, 8).map(([score, sentence]) => {
    const item = document.createElement("li");
    item.style.setProperty("--share", `${Math.max(0, 100 * score)}%`);
    const number = document.createElement("span");
    number.textContent = score.toFixed(2);
    item.append(number, sentence);
    return item;
  }));
  element("state").textContent = `${sentences.length} sentences, ${Math.round(took)} ms on the CPU, one thread.`;
  return scores.map(([, sentence]) => sentence);
}

element("question").oninput = search;
const ranking = await search();
globalThis.result = { tokens: known.tokens, vectors: known.vectors.map((vector) => [...vector]), ranking };
