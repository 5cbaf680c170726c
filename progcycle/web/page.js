"use strict";
const about = JSON.parse(document.getElementById("about").textContent);
const $ = (id) => document.getElementById(id);
const body = document.body;

// --- colours --------------------------------------------------------------------------------------------------------

const dark = matchMedia("(prefers-color-scheme: dark)");
let chosenTheme = null;
try { chosenTheme = localStorage.getItem("progcycle-theme"); } catch { /* a page that was opened as a file may have none */ }
function showTheme() {
  const theme = chosenTheme || (dark.matches ? "dark" : "light");
  document.documentElement.dataset.theme = theme;
  $("theme").setAttribute("aria-pressed", theme === "dark");
}
dark.addEventListener("change", showTheme);
$("theme").addEventListener("click", () => {
  chosenTheme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  try { localStorage.setItem("progcycle-theme", chosenTheme); } catch { /* then it lasts as long as the page */ }
  showTheme();
});
showTheme();

// --- what is beside the page ----------------------------------------------------------------------------------------

const delivered = new Map();
globalThis.deliver = (name, text) => delivered.set(name, text);

function script(src) {
  return new Promise((resolve, reject) => {
    const element = Object.assign(document.createElement("script"), { src });
    element.onload = resolve;
    element.onerror = () => reject(new Error(`${src} is missing beside this page; copy the whole folder.`));
    document.head.append(element);
  });
}

const scripts = new Map();
async function part(name, src) { // unpacked bytes
  if (!scripts.has(src)) scripts.set(src, script(src));
  try { await scripts.get(src); } catch (error) { scripts.delete(src); throw error; }
  const packed = Uint8Array.from(atob(delivered.get(name)), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
const modelPart = (name) => part(name, `models/${name}.js`);

// --- engines: one computes here, the other asks the server ------------------------------------------------------------

class Local {
  constructor() { this.calls = new Map(); this.number = 0; this.names = []; }

  async start() {
    if (!globalThis.WebAssembly || !globalThis.DecompressionStream || !globalThis.Worker) {
      throw new Error("This browser is too old for this page; it needs WebAssembly and DecompressionStream (2023).");
    }
    const [code, glue, wasm] = await Promise.all(["worker", "glue", "wasm"].map((name) => part(name, "engine.js")));
    delivered.delete("wasm");
    const url = URL.createObjectURL(new Blob([code], { type: "text/javascript" }));
    this.worker = new Worker(url);
    this.worker.onmessage = ({ data }) => {
      const { resolve, reject } = this.calls.get(data.id);
      this.calls.delete(data.id);
      if (data.error) reject(new Error(`The model could not be computed here: ${data.error}`));
      else resolve(data);
    };
    this.worker.onerror = (event) => {
      for (const { reject } of this.calls.values()) reject(new Error(`The page's worker has failed: ${event.message}`));
      this.calls.clear();
    };
    await this.call("start", { glue, wasm }, [wasm.buffer]);
  }

  call(what, values, move = []) {
    return new Promise((resolve, reject) => {
      const id = ++this.number;
      this.calls.set(id, { resolve, reject });
      this.worker.postMessage({ id, what, ...values }, move);
    });
  }

  async model(name) {
    this.started ??= this.start();
    await this.started;
    if (!this.names.includes(name)) {
      const model = await modelPart(name);
      ({ names: this.names } = await this.call("load", { name, model }, [model.buffer]));
    }
    return name;
  }

  async translate(way, moment, picture, seed) {
    const name = await this.model(way.name + moment);
    const { width: w, height: h } = picture, pixels = picture.data;
    const made = await this.call("translate", { name, pixels, w, h, channels: way.channels, at: way.moments[moment], seed, size: way.latents?.size });
    return { picture: new ImageData(made.pixels, made.w, made.h), worked: made.worked, ms: made.ms, before: made.before && new ImageData(made.before, made.w, made.h) };
  }

  async generate(moment, latents, label) {
    const name = await this.model("generator" + moment);
    const made = await this.call("generate", { name, latents: latents.slice(0, about.generator.moments[moment].size), label });
    return { picture: new ImageData(made.pixels, made.w, made.h), ms: made.ms };
  }
}

class Server {
  async ask(path, values, content) {
    const began = performance.now();
    let answer;
    try {
      answer = await fetch(`${path}?${new URLSearchParams(values)}`, { method: "POST", body: content });
    } catch {
      throw new Error("The server does not answer; is progcycle demo still running?");
    }
    if (!answer.ok) throw new Error(await answer.text());
    const picture = await decoded(await answer.blob());
    return { picture, ms: performance.now() - began };
  }

  async translate(way, moment, picture, seed) {
    const values = { direction: way.name, moment };
    if (way.latents) values.seed = seed;
    const content = await new Promise((resolve) => canvasOf(picture).toBlob(resolve, "image/png"));
    const made = await this.ask("translate", values, content);
    if (way.moments[moment].scale === "fixed") made.before = cropped(picture, made.picture.width, made.picture.height);
    return made;
  }

  generate(moment, latents, label) {
    const values = label === null ? { moment } : { moment, label };
    return this.ask("generate", values, latents.slice(0, about.generator.moments[moment].size));
  }
}

const engine = about.server ? new Server() : new Local();

// --- pictures ---------------------------------------------------------------------------------------------------------

const AS_IT_IS = { colorSpaceConversion: "none", premultiplyAlpha: "none", imageOrientation: "from-image" };
const MOST = about.server ? 16e6 : 4e6, MOST_NATIVE = about.server ? 4e6 : 3e5; // pixels

function canvasOf(picture) {
  const canvas = document.createElement("canvas");
  paint(canvas, picture);
  return canvas;
}

function paint(canvas, picture) {
  if (canvas.width !== picture.width || canvas.height !== picture.height) {
    canvas.width = picture.width;
    canvas.height = picture.height;
  }
  canvas.classList.toggle("pixels", Math.max(picture.width, picture.height) <= 160);
  canvas.getContext("2d", { willReadFrequently: true }).putImageData(picture, 0, 0);
}

async function decoded(blob, background = "#ffffff", most = Infinity) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob, AS_IT_IS);
  } catch {
    throw new Error("This is no picture that the browser can read; try a PNG or a JPEG.");
  }
  const factor = Math.min(1, Math.sqrt(most / (bitmap.width * bitmap.height)));
  const w = Math.max(1, Math.floor(bitmap.width * factor)), h = Math.max(1, Math.floor(bitmap.height * factor));
  const canvas = Object.assign(document.createElement("canvas"), { width: w, height: h });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = background;
  context.fillRect(0, 0, w, h);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, w, h);
  return context.getImageData(0, 0, w, h);
}

function cropped(picture, w, h) { // the middle of its shape, of that size
  const { width: W, height: H } = picture, scale = Math.min(W / w, H / h);
  const canvas = Object.assign(document.createElement("canvas"), { width: w, height: h });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(canvasOf(picture), (W - w * scale) / 2, (H - h * scale) / 2, w * scale, h * scale, 0, 0, w, h);
  return context.getImageData(0, 0, w, h);
}

const HEAT = [[0, 0, 8], [72, 20, 110], [176, 50, 118], [246, 126, 92], [252, 250, 196]], HOTTEST = 64; // grey levels
function difference(a, b) { // a picture of it, and its mean in grey levels
  const picture = new ImageData(a.width, a.height);
  let sum = 0;
  for (let i = 0; i < a.data.length; i += 4) {
    const apart = [0, 1, 2].reduce((all, k) => all + Math.abs(a.data[i + k] - b.data[i + k]), 0) / 3;
    sum += apart;
    const place = Math.min(1, apart / HOTTEST) * (HEAT.length - 1), low = Math.min(HEAT.length - 2, Math.floor(place));
    for (let k = 0; k < 3; k++) picture.data[i + k] = HEAT[low][k] + (place - low) * (HEAT[low + 1][k] - HEAT[low][k]);
    picture.data[i + 3] = 255;
  }
  return { picture, mean: (4 * sum) / a.data.length };
}

const save = (canvas, name) => canvas.toBlob((blob) => saveBlob(blob, name), "image/png");
function saveBlob(blob, name) {
  const url = URL.createObjectURL(blob);
  Object.assign(document.createElement("a"), { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

const floats = (text) => new Float32Array(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);

// --- words and work ---------------------------------------------------------------------------------------------------

function say(text, bad = false) {
  $("status").textContent = text;
  $("status").classList.toggle("bad", bad);
}

const sides = (w, h) => `${w}\u00a0×\u00a0${h}`;
const caption = (words) => words[0].toUpperCase() + words.slice(1);
const time = (ms) => (ms < 995 ? `${Math.max(1, Math.round(ms))}\u00a0ms` : `${(ms / 1000).toFixed(1)}\u00a0s`);

// One job at a time, and of those that wait only the newest: sliders and pens ask faster than models answer.
let busy = false, next = null;
async function ask(job) {
  next = job;
  if (busy) return;
  busy = true;
  body.dataset.state = body.dataset.state === "starting" ? "starting" : "working";
  while (next) {
    const now = next;
    next = null;
    try {
      await now(() => next === null);
    } catch (error) {
      say(error.message, true);
    }
  }
  busy = false;
  body.dataset.state = "ready";
}

function segments(parent, group, choices, chosen, onchange) {
  parent.replaceChildren(...choices.map(([value, words]) => {
    const label = document.createElement("label"), input = document.createElement("input"), span = document.createElement("span");
    Object.assign(input, { type: "radio", name: group, value, checked: value === chosen });
    input.addEventListener("change", () => onchange(value));
    span.textContent = words;
    label.append(input, span);
    return label;
  }));
  parent.hidden = choices.length < 2;
}

let moment = about.moments.length - 1;
function timeline(update) {
  const last = about.moments.length - 1, slider = $("moment");
  $("timeline").hidden = last < 1;
  slider.max = last;
  slider.value = last;
  const show = () => {
    moment = Number(slider.value);
    $("moment-label").textContent = about.moments[moment];
    slider.setAttribute("aria-valuetext", about.moments[moment]);
  };
  show();
  slider.addEventListener("input", () => { show(); update(); });
  playing($("play"), async () => {
    slider.value = moment === last ? 0 : moment + 1;
    show();
    update();
    await new Promise((resolve) => setTimeout(resolve, 900));
    return moment < last;
  });
}

function playing(button, step) { // a button that repeats a step until it is pressed again, or the step says so
  button.addEventListener("click", async () => {
    const on = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", on);
    if (!on || button.dataset.runs) return;
    button.dataset.runs = "yes";
    while (button.getAttribute("aria-pressed") === "true") {
      if (!(await step())) button.setAttribute("aria-pressed", "false");
    }
    delete button.dataset.runs;
  });
}

function facts(names) {
  $("private").textContent = about.server
    ? "Everything is computed on this computer, by progcycle demo."
    : "Everything is computed in this browser. No picture leaves this device.";
  if (about.server) return;
  $("models-fact").hidden = false;
  names.forEach((name, i) => {
    const button = Object.assign(document.createElement("button"), { type: "button", className: "link", textContent: `${name}.onnx` });
    button.addEventListener("click", async () => saveBlob(new Blob([await modelPart(name + moment)]), `${name}.onnx`));
    $("models").append(i ? ", " : "", button);
  });
}

// --- pictures to pictures ---------------------------------------------------------------------------------------------

function translator() {
  const ways = about.ways, back = (way) => ways.find((other) => other !== way && other.domains[0] === way.domains[1]);
  const there = back(ways[0]);
  let way = ways[0], view = "compare", seed = 0, before = null, after = null, chosen = -1, drawing = false;
  for (const { latents } of ways.flatMap((one) => one.moments)) {
    for (const key of ["drawn", "kept", "sources"]) if (latents?.[key]) latents[key] = floats(latents[key]);
  }

  $("lead").textContent = there
    ? `From ${way.words[0]} to ${way.words[1]}, and back. Drop a picture, choose an example, or draw one.`
    : `From ${way.words[0]} to ${way.words[1]}. Drop a picture, choose an example, or draw one.`;

  segments($("ways"), "way", ways.map((one) => [one.name, `${one.words[0]} → ${one.words[1]}`]), way.name, (name) => {
    way = ways.find((one) => one.name === name);
    showWay();
    const pictures = about.examples[way.domains[0]] || [];
    if (chosen >= 0 && pictures.length) choose(Math.min(chosen, pictures.length - 1));
    else update();
  });
  const views = [["compare", "Slider"], ["side", "Pair"], ...(there ? [["back", "Round trip"]] : []), ["draw", "Draw"]];
  segments($("views"), "view", views, view, showView);

  function showView(name) {
    view = name;
    for (const [other] of views) $(`view-${other}`).hidden = other !== view;
    document.querySelector(`input[name=view][value=${view}]`).checked = true;
    if (view === "draw") startDrawing();
    else update();
  }

  function showWay() {
    const words = { from: caption(way.words[0]), to: caption(way.words[1]), again: `${caption(way.words[0])} again` };
    for (const element of document.querySelectorAll("[data-word]")) element.textContent = words[element.dataset.word];
    $("variants").hidden = !way.latents;
    if (way.latents) $("seed").max = way.latents.count - 1;
    const pictures = about.examples[way.domains[0]] || [];
    $("examples-block").hidden = !pictures.length;
    $("examples-title").textContent = `Examples of ${way.words[0]}`;
    $("examples").replaceChildren(...pictures.map((src, i) => {
      const button = document.createElement("button"), image = Object.assign(new Image(), { src, alt: "" });
      button.type = "button";
      button.setAttribute("aria-label", `Example ${i + 1}`);
      button.setAttribute("aria-pressed", false);
      button.append(image);
      button.addEventListener("click", () => choose(i));
      return button;
    }));
    swatches();
  }

  function mark(i) {
    chosen = i;
    [...$("examples").children].forEach((button, j) => button.setAttribute("aria-pressed", i === j));
  }

  function bytesOf(url) {
    const [head, text] = url.split(",");
    return new Blob([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], { type: head.slice(5).split(";")[0] });
  }

  async function choose(i) {
    mark(i);
    await take(bytesOf(about.examples[way.domains[0]][i]), false);
  }

  async function take(blob, own = true) {
    try {
      const most = way.moments[moment].scale === "native" ? MOST_NATIVE : MOST;
      const picture = await decoded(blob, way.background, most);
      if (own) mark(-1);
      before = picture;
      drawing = false;
      if (view === "draw") showView("compare");
      else update();
    } catch (error) {
      say(error.message, true);
    }
  }

  function update() {
    if (!before) return;
    const now = { way, view, seed, before, moment };
    ask(async (newest) => {
      const made = await engine.translate(now.way, now.moment, now.before, now.seed);
      const shown = made.before || now.before;
      let again = null;
      if (now.view === "back" && newest()) again = await engine.translate(back(now.way), now.moment, made.picture, now.seed);
      if (!newest() && !drawing) return;
      after = made.picture;
      show(now.view, shown, made, again);
      body.dataset.done = (Number(body.dataset.done) || 0) + 1;
    });
  }

  function show(which, shown, made, again) {
    const { picture } = made, ratio = picture.width / picture.height;
    for (const [name] of views) $(`view-${name}`).style.setProperty("--ratio", ratio);
    if (which === "compare") { paint($("compare-before"), shown); paint($("compare-after"), picture); }
    if (which === "side") { paint($("side-before"), shown); paint($("side-after"), picture); }
    if (which === "draw") paint($("draw-after"), picture);
    if (again) {
      const error = difference(shown, again.picture);
      paint($("back-before"), shown);
      paint($("back-after"), picture);
      paint($("back-again"), again.picture);
      paint($("back-error"), error.picture);
      $("error").textContent = `Difference: ${error.mean.toFixed(1)} of 255 on average`;
    }
    const worked = made.worked ? `, the network at ${sides(made.worked[1], made.worked[0])}` : "";
    say(`${sides(picture.width, picture.height)} pixels in ${time(made.ms)}${worked}`);
    Object.assign(globalThis.progcycle, { before: shown, after: picture, again: again && again.picture });
  }

  $("cut").addEventListener("input", ({ target }) => $("compare").style.setProperty("--cut", `${target.value}%`));
  $("seed").addEventListener("input", ({ target }) => {
    seed = Number(target.value);
    $("seed-label").textContent = `seed ${seed}`;
    update();
  });
  $("save").addEventListener("click", () => after && save(canvasOf(after), `${way.words[1]}.png`));
  $("save-pair").addEventListener("click", () => {
    if (!after) return;
    const shown = globalThis.progcycle.before, gap = Math.ceil(after.width / 50);
    const canvas = Object.assign(document.createElement("canvas"), { width: 2 * after.width + gap, height: after.height });
    const context = canvas.getContext("2d");
    context.fillStyle = "#fff";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(canvasOf(shown), 0, 0);
    context.drawImage(canvasOf(after), after.width + gap, 0);
    save(canvas, `${way.words.join("-")}.png`);
  });

  // Dropping, choosing, pasting
  $("file").addEventListener("change", ({ target }) => { if (target.files[0]) take(target.files[0]); target.value = ""; });
  addEventListener("paste", ({ clipboardData }) => {
    const file = [...clipboardData.files].find(({ type }) => type.startsWith("image/"));
    if (file) take(file);
  });
  let over = 0;
  addEventListener("dragenter", (event) => { event.preventDefault(); over += 1; $("veil").hidden = false; });
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("dragleave", () => { over -= 1; $("veil").hidden = over > 0; });
  addEventListener("drop", (event) => {
    event.preventDefault();
    over = 0;
    $("veil").hidden = true;
    if (event.dataTransfer.files[0]) take(event.dataTransfer.files[0]);
  });

  // Drawing
  const COLOURS = ["#1c1b22", "#ffffff", "#e5484d", "#f5a623", "#ffd84a", "#46a758", "#3e8bff", "#8e4ec6"];
  const GREYS = ["#000000", "#404040", "#808080", "#c0c0c0", "#ffffff"];
  const pad = $("pad"), pen = pad.getContext("2d", { willReadFrequently: true }), strokes = [];
  let colour = COLOURS[0];
  pad.width = pad.height = 0;

  function swatches() {
    const colours = way.channels[0] === 1 ? GREYS : COLOURS;
    if (!colours.includes(colour)) colour = colours[0];
    $("swatches").replaceChildren(...colours.map((one) => {
      const label = document.createElement("label"), input = document.createElement("input"), span = document.createElement("span");
      Object.assign(input, { type: "radio", name: "colour", value: one, checked: one === colour });
      input.setAttribute("aria-label", one);
      input.addEventListener("change", () => { colour = one; });
      span.style.setProperty("--own", one);
      label.append(input, span);
      return label;
    }));
  }

  function startDrawing() {
    if (!pad.width) {
      const [h, w] = way.moments[moment].trained, factor = Math.max(1, Math.ceil(256 / Math.min(h, w)));
      pad.width = w * factor;
      pad.height = h * factor;
      clean();
    }
    mark(-1);
    drawing = true;
    drawn();
  }

  function clean() {
    pen.fillStyle = way.background;
    pen.fillRect(0, 0, pad.width, pad.height);
  }

  function drawn() {
    before = pen.getImageData(0, 0, pad.width, pad.height);
    update();
  }

  const place = (event) => {
    const box = pad.getBoundingClientRect();
    return [((event.clientX - box.left) * pad.width) / box.width, ((event.clientY - box.top) * pad.height) / box.height];
  };
  let at = null;
  pad.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    pad.setPointerCapture(event.pointerId);
    strokes.push(pen.getImageData(0, 0, pad.width, pad.height));
    if (strokes.length > 40) strokes.shift();
    at = place(event);
    line(at);
  });
  pad.addEventListener("pointermove", (event) => {
    if (!at) return;
    for (const one of event.getCoalescedEvents?.() ?? [event]) line(place(one));
  });
  for (const name of ["pointerup", "pointercancel"]) pad.addEventListener(name, () => { at = null; });
  function line(to) {
    Object.assign(pen, { strokeStyle: colour, lineWidth: Number($("pen").value), lineCap: "round", lineJoin: "round" });
    pen.beginPath();
    pen.moveTo(...at);
    pen.lineTo(...to);
    pen.stroke();
    at = to;
    drawn();
  }
  $("undo").addEventListener("click", () => { if (strokes.length) { pen.putImageData(strokes.pop(), 0, 0); drawn(); } });
  $("clear").addEventListener("click", () => { strokes.push(pen.getImageData(0, 0, pad.width, pad.height)); clean(); drawn(); });
  $("draw").addEventListener("click", () => { showView("draw"); pad.scrollIntoView({ block: "nearest" }); });

  timeline(update);
  facts(ways.map((one) => one.name));
  showWay();
  globalThis.progcycle = { take, show: showView };
  say(about.server ? "Ready" : "Loading the model …");
  const first = (about.examples[way.domains[0]] || []).length;
  if (first) choose(first >> 1);
  else showView("draw");
}

// --- between latents: progcycle/export/interpolation.py -----------------------------------------------------------------

function slerp(a, b, t) {
  const unit = (x) => { const length = Math.hypot(...x); return Array.from(x, (v) => v / length); };
  const u = unit(a), v = unit(b), dot = u.reduce((sum, x, i) => sum + x * v[i], 0);
  const angle = Math.acos(Math.min(1, Math.max(-1, dot)));
  if (angle < 1e-6) return u.map((x) => x * Math.sqrt(a.length));
  const [s, e] = [Math.sin((1 - t) * angle) / Math.sin(angle), Math.sin(t * angle) / Math.sin(angle)];
  return u.map((x, i) => (s * x + e * v[i]) * Math.sqrt(a.length));
}
function inverseErf(x) { // by Newton's method
  let y = 0;
  for (let i = 0; i < 40; i++) {
    const step = (erf(y) - x) / ((2 / Math.sqrt(Math.PI)) * Math.exp(-y * y));
    y -= Math.max(-0.5, Math.min(0.5, step));
  }
  return y;
}
function erf(x) { // its series; |x| stays below 4
  let term = x, sum = x;
  for (let n = 1; n < 90; n++) { term *= (-x * x) / n; sum += term / (2 * n + 1); }
  return (2 / Math.sqrt(Math.PI)) * sum;
}
function throughCube(a, b, t) {
  const inside = (x) => Math.max(-0.999999, Math.min(0.999999, x));
  return erf(Math.cos((Math.PI * t) / 2) * inverseErf(inside(a)) + Math.sin((Math.PI * t) / 2) * inverseErf(inside(b)));
}

// --- latents to pictures ----------------------------------------------------------------------------------------------

function generator() {
  const LARGEST_PIXEL = 14, SHOWN = 12;
  const own = about.generator, size = own.parts.reduce((sum, each) => sum + each.size, 0), drawn = floats(own.latents);
  let label = own.classes.length ? 0 : null, number = 0, from = known(0), to = known(1), after = null, page = 0;

  $("lead").textContent = `Paints pictures from ${size} random numbers each. Walk from one to the next, or draw new ones.`;
  $("number").max = own.count - 1;
  $("class-field").hidden = label === null;
  $("class").replaceChildren(...own.classes.map((name, i) => new Option(name, i)));

  function known(i) { return drawn.slice(i * size, (i + 1) * size); }
  function normal() { return Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random()); }
  function random() {
    return Float32Array.from(own.parts.flatMap((each) => Array.from({ length: each.size },
      each.distribution === "normal" ? normal : () => 2 * Math.random() - 1)));
  }

  // Along the sphere where latents are normal, through the cube where they are uniform.
  function between(a, b, t) {
    if (t === 0) return a;
    const out = [];
    let start = 0;
    for (const { size: count, distribution } of own.parts) {
      const x = a.subarray(start, start + count), y = b.subarray(start, start + count);
      out.push(...(distribution === "normal" && count > 1 ? slerp(x, y, t) : x.map((v, i) => throughCube(v, y[i], t))));
      start += count;
    }
    return Float32Array.from(out);
  }
  const step = () => Number($("between").value);
  function words() { return number === null ? "random" : `picture ${number}`; }
  function update() {
    const latents = between(from, to, step()), now = moment;
    return ask(async () => {
      const made = await engine.generate(now, latents, label);
      after = made.picture;
      paint($("painted"), after);
      const { style } = document.querySelector(".view");
      style.setProperty("--ratio", after.width / after.height);
      style.setProperty("--room", `min(58vh, 34rem, ${LARGEST_PIXEL * after.height}px)`);
      say(`${caption(words())}, ${sides(after.width, after.height)} pixels in ${time(made.ms)}`);
      Object.assign(globalThis.progcycle, { after });
      body.dataset.done = (Number(body.dataset.done) || 0) + 1;
    });
  }
  function go(a, b, i) {
    [from, to, number] = [a, b, i];
    $("between").value = 0;
    $("between-label").textContent = "0 %";
    if (i !== null) $("number").value = i;
    [...$("examples").children].forEach((button) => button.setAttribute("aria-pressed", Number(button.dataset.number) === i));
  }
  const goTo = (i) => { go(known(i), known((i + 1) % own.count), i); return update(); };

  $("number").addEventListener("change", ({ target }) => {
    goTo(Math.min(own.count - 1, Math.max(0, Math.round(Number(target.value)) || 0)));
  });
  $("random").addEventListener("click", () => { go(random(), random(), null); update(); });
  $("class").addEventListener("change", ({ target }) => { label = Number(target.value); update(); thumbs(); });
  $("between").addEventListener("input", () => { $("between-label").textContent = `${Math.round(100 * step())} %`; update(); });
  playing($("walk"), async () => {
    const t = step() + 0.02;
    if (t < 1) {
      $("between").value = t;
      $("between-label").textContent = `${Math.round(100 * t)} %`;
      await Promise.all([update(), new Promise((resolve) => setTimeout(resolve, 30))]);
    } else if (number === null) go(to, random(), null);
    else go(to, known((number + 2) % own.count), (number + 1) % own.count);
    return true;
  });
  $("save").addEventListener("click", () => after && save(canvasOf(after), `${words().replace(" ", "-")}.png`));

  async function thumbs() {
    const numbers = Array.from({ length: SHOWN }, (_, i) => (page * SHOWN + i) % own.count);
    const buttons = numbers.map((i) => {
      const button = document.createElement("button");
      button.type = "button";
      button.dataset.number = i;
      button.setAttribute("aria-label", `Picture ${i}`);
      button.setAttribute("aria-pressed", i === number);
      button.append(document.createElement("canvas"));
      button.addEventListener("click", () => goTo(i));
      return button;
    });
    $("examples").replaceChildren(...buttons);
    const [now, of] = [moment, label];
    for (const [j, i] of numbers.entries()) {
      while (busy) await new Promise((resolve) => setTimeout(resolve, 20));
      if (now !== moment || of !== label || !buttons[j].isConnected) return;
      await ask(async () => paint(buttons[j].firstChild, (await engine.generate(now, known(i), of)).picture));
    }
  }
  $("more").addEventListener("click", () => { page += 1; thumbs(); });

  timeline(() => { update(); thumbs(); });
  facts(["generator"]);
  globalThis.progcycle = { generate: (latents) => engine.generate(moment, latents, label) };
  say("Loading the model …");
  go(from, to, 0);
  update().then(thumbs);
}

if (about.kind === "generator") generator();
else translator();
