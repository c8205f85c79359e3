import * as ort from "./onnxruntime/ort.wasm.min.mjs";

ort.env.wasm.wasmPaths = new URL("./onnxruntime/", import.meta.url).href;
ort.env.wasm.numThreads = 1; // more need a page that is isolated from other origins

const SIDE = 384;
const element = (id) => document.getElementById(id);
const photo = element("photo").getContext("2d", { willReadFrequently: true });
const colours = element("colours").getContext("2d");
photo.canvas.width = photo.canvas.height = SIDE;

const session = await ort.InferenceSession.create("./dino.onnx");

// Draws the middle of a picture or of a video, and its components beside it.
async function show(source, width, height) {
  const side = Math.min(width, height);
  photo.drawImage(source, (width - side) / 2, (height - side) / 2, side, side, 0, 0, SIDE, SIDE);
  const pixels = new ort.Tensor("uint8", new Uint8Array(photo.getImageData(0, 0, SIDE, SIDE).data), [SIDE, SIDE, 4]);
  const begin = performance.now();
  const { colours: result } = await session.run({ pixels });
  const [rows, columns] = result.dims;
  colours.canvas.width = columns;
  colours.canvas.height = rows;
  colours.putImageData(new ImageData(new Uint8ClampedArray(result.data), columns, rows), 0, 0);
  element("state").textContent = `${Math.round(performance.now() - begin)} ms on the CPU, one thread.`;
  return { pixels: [...pixels.data], colours: [...result.data] };
}

async function follow(video) {
  await show(video, video.videoWidth, video.videoHeight);
  requestAnimationFrame(() => follow(video));
}

element("webcam").onclick = async () => {
  const video = document.createElement("video");
  video.srcObject = await navigator.mediaDevices.getUserMedia({ video: true });
  await video.play();
  follow(video);
};
element("file").onchange = async ({ target }) => {
  const picture = await createImageBitmap(target.files[0]);
  await show(picture, picture.width, picture.height);
};

const picture = new Image();
picture.src = "./photo.png";
await picture.decode();
globalThis.result = await show(picture, picture.width, picture.height);
