"use strict";
// The worker: pictures in, pictures out. The mathematics of progcycle's translate, from files' levels to files' levels.

const sessions = new Map(); // by name; a Map keeps the order of use
const KEPT = 6;

onmessage = async ({ data }) => {
  try {
    const made = await ({ start, load, translate, generate }[data.what])(data);
    postMessage({ id: data.id, ...made }, made && made.pixels ? [made.pixels.buffer] : []);
  } catch (error) {
    postMessage({ id: data.id, error: String((error && error.message) || error) });
  }
};

function start({ glue, wasm }) {
  ort.env.wasm.numThreads = 1; // more need headers that simple servers do not send
  ort.env.wasm.wasmBinary = wasm.buffer;
  ort.env.wasm.wasmPaths = { mjs: URL.createObjectURL(new Blob([glue], { type: "text/javascript" })) };
  ort.env.logLevel = "error";
  return {};
}

async function load({ name, model }) {
  while (sessions.size >= KEPT) {
    const [oldest, session] = sessions.entries().next().value;
    sessions.delete(oldest);
    await session.release();
  }
  sessions.set(name, await ort.InferenceSession.create(model, { executionProviders: ["wasm"] }));
  return { names: [...sessions.keys()] };
}

async function run(name, feeds) {
  const session = sessions.get(name);
  sessions.delete(name);
  sessions.set(name, session);
  const { output } = await session.run(feeds);
  return output;
}

// --- pictures -------------------------------------------------------------------------------------------------------
// Levels: {h, w, c, data} with data[(y * w + x) * c + channel], 0 to 255. Maps: the same numbers, plane by plane.

function levelsOf(pixels, w, h, c) {
  const data = new Uint8ClampedArray(w * h * c);
  for (let i = 0; i < w * h; i++) {
    const r = pixels[4 * i], g = pixels[4 * i + 1], b = pixels[4 * i + 2];
    if (c === 1) data[i] = (r * 19595 + g * 38470 + b * 7471 + 0x8000) >> 16; // as Pillow
    else { data[3 * i] = r; data[3 * i + 1] = g; data[3 * i + 2] = b; }
  }
  return { h, w, c, data };
}

function pixelsOf({ h, w, c, planes }) {
  const pixels = new Uint8ClampedArray(4 * w * h);
  const n = w * h;
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < 3; k++) pixels[4 * i + k] = level(planes[(c === 1 ? 0 : k) * n + i]);
    pixels[4 * i + 3] = 255;
  }
  return pixels;
}

function level(x) { // the nearest level, of two equally near ones the even one
  const y = (Math.min(1, Math.max(-1, x)) + 1) * 127.5, low = Math.floor(y);
  return y - low < 0.5 ? low : y - low > 0.5 ? low + 1 : low + (low & 1);
}

function mapsOf({ h, w, c, data }) {
  const planes = new Float32Array(c * h * w);
  for (let i = 0; i < h * w; i++) for (let k = 0; k < c; k++) planes[k * h * w + i] = data[c * i + k] / 127.5 - 1;
  return { h, w, c, planes };
}

// Pillow's resize: Lanczos where a side shrinks, else bicubic; across first, rounded to levels in between.
function fit(levels, w, h) {
  if (levels.w === w && levels.h === h) return levels;
  const lanczos = w < levels.w || h < levels.h;
  let out = levels;
  if (w !== out.w) out = along(out, w, lanczos, true);
  if (h !== out.h) out = along(out, h, lanczos, false);
  return out;
}

function lanczosAt(x) {
  if (x === 0) return 1;
  if (Math.abs(x) >= 3) return 0;
  const y = Math.PI * x;
  return (3 * Math.sin(y) * Math.sin(y / 3)) / (y * y);
}

function cubicAt(x, a) {
  x = Math.abs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

function along(levels, size, lanczos, across) {
  const old = across ? levels.w : levels.h, scale = old / size, filter = Math.max(1, scale);
  const support = (lanczos ? 3 : 2) * filter, taps = [];
  for (let i = 0; i < size; i++) {
    const centre = (i + 0.5) * scale;
    const from = Math.max(0, Math.trunc(centre - support + 0.5));
    const to = Math.min(old, Math.trunc(centre + support + 0.5));
    const weights = [];
    let sum = 0;
    for (let j = from; j < to; j++) {
      const x = (j - centre + 0.5) / filter, weight = lanczos ? lanczosAt(x) : cubicAt(x, -0.5);
      weights.push(weight);
      sum += weight;
    }
    taps.push({ from, weights: weights.map((weight) => weight / sum) });
  }
  const w = across ? size : levels.w, h = across ? levels.h : size, { c, data } = levels;
  const out = new Uint8ClampedArray(w * h * c), step = across ? c : levels.w * c;
  for (let y = 0; y < h; y++) {
    for (let x = 0; x < w; x++) {
      const { from, weights } = taps[across ? x : y];
      const start = across ? (y * levels.w + from) * c : (from * levels.w + x) * c;
      for (let k = 0; k < c; k++) {
        let sum = 0;
        for (let j = 0; j < weights.length; j++) sum += weights[j] * data[start + j * step + k];
        out[(y * w + x) * c + k] = Math.floor(sum + 0.5);
      }
    }
  }
  return { h, w, c, data: out };
}

function reduce(levels, factor) { // averages of blocks, rounded
  if (factor === 1) return levels;
  const { c, data } = levels, w = levels.w / factor, h = levels.h / factor;
  const out = new Uint8ClampedArray(w * h * c), area = factor * factor;
  for (let y = 0; y < h; y++) for (let x = 0; x < w; x++) for (let k = 0; k < c; k++) {
    let sum = 0;
    for (let j = 0; j < factor; j++) for (let i = 0; i < factor; i++) {
      sum += data[((y * factor + j) * levels.w + x * factor + i) * c + k];
    }
    out[(y * w + x) * c + k] = Math.floor(sum / area + 0.5);
  }
  return { h, w, c, data: out };
}

function middle(levels, [h, w]) { // the largest part of that shape
  const wider = levels.w * h - levels.h * w;
  const rows = wider >= 0 ? levels.h : Math.max(Math.round((levels.w * h) / w), 1);
  const columns = wider <= 0 ? levels.w : Math.max(Math.round((levels.h * w) / h), 1);
  const left = (levels.w - columns) >> 1, top = (levels.h - rows) >> 1, { c } = levels;
  const data = new Uint8ClampedArray(rows * columns * c);
  for (let y = 0; y < rows; y++) {
    const at = ((top + y) * levels.w + left) * c;
    data.set(levels.data.subarray(at, at + columns * c), y * columns * c);
  }
  return { h: rows, w: columns, c, data };
}

const short = ([h, w]) => Math.min(h, w);
function even(x) { // Python's round: of two equally near numbers the even one
  const low = Math.floor(x);
  return x - low === 0.5 ? low + (low & 1) : Math.round(x);
}
const scaled = (sides, wanted) => sides.map((side) => even((side * wanted) / short(sides)));

function stageSize(h, w, [sh, sw]) { // the aspect kept, just covering a stage's shape
  if (w * sh >= h * sw) return [sh, Math.max(sw, even((w * sh) / h))];
  return [Math.max(sh, even((h * sw) / w)), sw];
}

function small(levels, at) { // at the scale that the network works on
  if (at.scale === "native") return levels;
  if (at.scale === "fixed") {
    const part = middle(levels, at.trained);
    return fit(part, at.trained[1], at.trained[0]);
  }
  const { trained, final, loaded } = at;
  const most = Math.min(
    Math.floor((levels.h * short(trained)) / trained[0]), Math.floor((levels.w * short(trained)) / trained[1]));
  const wanted = at.share === null ? Math.min(at.side || 0, most) : even(most * at.share);
  const size = wanted > short(trained) ? scaled(trained, wanted) : trained;
  let base = size;
  if (size === trained) base = final;
  else if (loaded && short(size) * short(final) === short(loaded) * short(trained)) base = loaded;
  const factor = Math.floor(short(base) / short(size)), [h, w] = stageSize(levels.h, levels.w, size);
  return reduce(fit(levels, w * factor, h * factor), factor);
}

function padded(maps, multiple, least) { // mirrored to the right and below, or repeated where too small for that
  const grow = (side) => side + Math.max(least - side, (multiple - (side % multiple)) % multiple);
  const H = grow(maps.h), W = grow(maps.w), { h, w, c, planes } = maps;
  if (H === h && W === w) return maps;
  const place = (i, side, whole) => (i < side ? i : whole - side < side ? 2 * (side - 1) - i : side - 1);
  const out = new Float32Array(c * H * W);
  for (let k = 0; k < c; k++) for (let y = 0; y < H; y++) for (let x = 0; x < W; x++) {
    out[(k * H + y) * W + x] = planes[(k * h + place(y, h, H)) * w + place(x, w, W)];
  }
  return { h: H, w: W, c, planes: out };
}

function cut({ c, planes, w }, h, width) {
  const all = planes.length / c, out = new Float32Array(c * h * width);
  for (let k = 0; k < c; k++) for (let y = 0; y < h; y++) {
    out.set(planes.subarray(k * all + y * w, k * all + y * w + width), (k * h + y) * width);
  }
  return { h, w: width, c, planes: out };
}

function faded(maps, alpha) { // real pictures of a fading stage; sides are even
  if (alpha >= 1) return maps;
  const { h, w, c, planes } = maps, out = new Float32Array(planes.length);
  for (let k = 0; k < c; k++) for (let y = 0; y < h; y += 2) for (let x = 0; x < w; x += 2) {
    const i = (k * h + y) * w + x, four = [i, i + 1, i + w, i + w + 1];
    const mean = (planes[four[0]] + planes[four[1]] + planes[four[2]] + planes[four[3]]) / 4;
    for (const j of four) out[j] = mean + alpha * (planes[j] - mean);
  }
  return { h, w, c, planes: out };
}

// Each side on its own: averaged by box where it shrinks, bicubic where it grows.
function resized(maps, H, W) {
  let out = side(maps, W, true);
  return side(out, H, false);
}

function side(maps, size, across) {
  const { h, w, c, planes } = maps, old = across ? w : h;
  if (size === old) return maps;
  const taps = Array.from({ length: size }, (_, i) => (size < old ? boxTaps(i, old, size) : cubicTaps(i, old, size)));
  const W = across ? size : w, H = across ? h : size, out = new Float32Array(c * H * W);
  for (let k = 0; k < c; k++) for (let y = 0; y < H; y++) for (let x = 0; x < W; x++) {
    let sum = 0;
    for (const [place, weight] of taps[across ? x : y]) {
      sum += weight * planes[across ? (k * h + y) * w + place : (k * h + place) * w + x];
    }
    out[(k * H + y) * W + x] = sum;
  }
  return { h: H, w: W, c, planes: out };
}

function boxTaps(i, old, size) {
  const from = i * (old / size), to = (i + 1) * (old / size), taps = [];
  for (let j = Math.floor(from); j < Math.min(old, Math.ceil(to)); j++) {
    const share = Math.min(to, j + 1) - Math.max(from, j);
    if (share > 0) taps.push([j, share * (size / old)]);
  }
  return taps;
}

function cubicTaps(i, old, size) {
  const place = ((i + 0.5) * old) / size - 0.5, low = Math.floor(place);
  return [-1, 0, 1, 2].map((j) => [Math.min(old - 1, Math.max(0, low + j)), cubicAt(place - low - j, -0.75)]);
}

// --- a change, added to the full picture along its edges: progcycle/export/detail.py -----------------------------------

const RADIUS = 2, EPSILON = 0.01;

function boxMeans(plane, h, w) { // of neighbourhoods that end at the border
  const rows = new Float64Array(h * w), out = new Float64Array(h * w);
  for (let y = 0; y < h; y++) for (let x = 0; x < w; x++) {
    const from = Math.max(0, x - RADIUS), to = Math.min(w - 1, x + RADIUS);
    let sum = 0;
    for (let i = from; i <= to; i++) sum += plane[y * w + i];
    rows[y * w + x] = sum / (to - from + 1);
  }
  for (let y = 0; y < h; y++) {
    const from = Math.max(0, y - RADIUS), to = Math.min(h - 1, y + RADIUS);
    for (let x = 0; x < w; x++) {
      let sum = 0;
      for (let i = from; i <= to; i++) sum += rows[i * w + x];
      out[y * w + x] = sum / (to - from + 1);
    }
  }
  return out;
}

function solve(matrix, right) { // Gauss, of a positive definite matrix; right has as many rows
  const n = matrix.length, m = right[0].length;
  for (let i = 0; i < n; i++) {
    for (let j = i + 1; j < n; j++) {
      const f = matrix[j][i] / matrix[i][i];
      for (let k = i; k < n; k++) matrix[j][k] -= f * matrix[i][k];
      for (let k = 0; k < m; k++) right[j][k] -= f * right[i][k];
    }
  }
  for (let i = n - 1; i >= 0; i--) for (let k = 0; k < m; k++) {
    for (let j = i + 1; j < n; j++) right[i][k] -= matrix[i][j] * right[j][k];
    right[i][k] /= matrix[i][i];
  }
  return right;
}

function fitSlopes(guide, change) { // change[k] varies by slope[k * G + g] as guide[g] varies by 1
  const { h, w, c: G } = guide, C = change.c, n = h * w;
  const plane = (maps, k) => maps.planes.subarray(k * n, (k + 1) * n);
  const product = (a, b) => a.map((x, i) => x * b[i]);
  const doubles = (maps) => Array.from({ length: maps.c }, (_, k) => Float64Array.from(plane(maps, k)));
  const xs = doubles(guide), ys = doubles(change);
  const mean = (a) => boxMeans(a, h, w), mx = xs.map(mean), my = ys.map(mean);
  const cov = (a, b, ma, mb) => mean(product(a, b)).map((x, i) => x - ma[i] * mb[i]);
  const xx = xs.map((a, i) => xs.map((b, j) => cov(a, b, mx[i], mx[j])));
  const xy = xs.map((a, i) => ys.map((b, j) => cov(a, b, mx[i], my[j])));
  const slopes = Array.from({ length: C * G }, () => new Float64Array(n));
  for (let p = 0; p < n; p++) {
    const matrix = xx.map((row, i) => row.map((values, j) => values[p] + (i === j ? EPSILON : 0)));
    const found = solve(matrix, xy.map((row) => row.map((values) => values[p])));
    for (let k = 0; k < C; k++) for (let g = 0; g < G; g++) slopes[k * G + g][p] = found[g][k];
  }
  return slopes.map(mean);
}

function addChange(full, guide, change) {
  const G = guide.c, C = change.c, { h, w } = guide, { h: H, w: W } = full;
  const slopes = fitSlopes(guide, change);
  const rest = Array.from({ length: C }, (_, k) => Float64Array.from({ length: h * w }, (_, p) => {
    let sum = change.planes[k * h * w + p];
    for (let g = 0; g < G; g++) sum -= slopes[k * G + g][p] * guide.planes[g * h * w + p];
    return sum;
  }));
  const between = (i, old, size) => { // bilinear
    const place = Math.max(0, ((i + 0.5) * old) / size - 0.5), low = Math.min(old - 1, Math.floor(place));
    return [low, Math.min(old - 1, low + 1), place - low];
  };
  const columns = Array.from({ length: W }, (_, x) => between(x, w, W)), out = new Float32Array(C * H * W);
  for (let y = 0; y < H; y++) {
    const [top, below, v] = between(y, h, H);
    for (let x = 0; x < W; x++) {
      const [left, right, u] = columns[x];
      const a = top * w + left, b = top * w + right, c = below * w + left, d = below * w + right;
      const wa = (1 - v) * (1 - u), wb = (1 - v) * u, wc = v * (1 - u), wd = v * u, p = y * W + x;
      for (let k = 0; k < C; k++) {
        let map = rest[k];
        let sum = full.planes[k * H * W + p] + wa * map[a] + wb * map[b] + wc * map[c] + wd * map[d];
        for (let g = 0; g < G; g++) {
          map = slopes[k * G + g];
          sum += (wa * map[a] + wb * map[b] + wc * map[c] + wd * map[d]) * full.planes[g * H * W + p];
        }
        out[k * H * W + p] = sum;
      }
    }
  }
  return { h: H, w: W, c: C, planes: out };
}

// --- latents: LatentEncoder.drawn in progcycle/networks/latent_encoder.py ---------------------------------------------

function areaMeans({ h, w, c, planes }, n) { // of n x n areas, which overlap where a side is no multiple
  const out = new Float32Array(c * n * n);
  const from = (i, side) => Math.floor((i * side) / n), to = (i, side) => Math.ceil(((i + 1) * side) / n);
  for (let k = 0; k < c; k++) for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) {
    let sum = 0, count = 0;
    for (let y = from(i, h); y < to(i, h); y++) for (let x = from(j, w); x < to(j, w); x++, count++) {
      sum += planes[(k * h + y) * w + x];
    }
    out[(k * n + i) * n + j] = sum / count;
  }
  return out;
}

function latentsOf(seed, size, levels, at) {
  const { drawn, shares, neighbours, side, kept, sources } = at.latents;
  if (drawn) return drawn.slice(seed * size, (seed + 1) * size);
  const source = areaMeans(mapsOf(small(levels, { ...at, scale: "train", side: null, share: null })), side);
  const n = source.length, apart = Array.from({ length: kept.length / size }, (_, i) => {
    let sum = 0;
    for (let j = 0; j < n; j++) sum += (sources[i * n + j] - source[j]) ** 2;
    return [sum, i];
  }).sort((a, b) => a[0] - b[0]);
  const count = Math.min(neighbours, apart.length), place = Math.min(count - 1, Math.floor(shares[seed] * count));
  return kept.slice(apart[place][1] * size, (apart[place][1] + 1) * size);
}

// --- what the page asks for -----------------------------------------------------------------------------------------

async function translate({ name, pixels, w, h, channels, at, seed, size }) {
  const began = performance.now();
  let levels = levelsOf(pixels, w, h, channels[0]);
  const low = small(levels, at), x = mapsOf(low);
  const fed = at.multiple === null ? x : padded(x, at.multiple, at.least);
  const feeds = { input: new ort.Tensor("float32", fed.planes, [1, fed.c, fed.h, fed.w]) };
  if (size) feeds.latents = new ort.Tensor("float32", latentsOf(seed, size, levels, at), [1, size]);
  const output = await run(name, feeds);
  const [, c, oh, ow] = output.dims;
  const painted = cut({ c, w: ow, planes: output.data.map((v) => Math.min(1, Math.max(-1, v))) }, low.h, low.w);
  const shown = cut(faded(fed, at.fade), low.h, low.w);
  let result = painted;
  if (at.scale === "train") result = resized(painted, h, w);
  if (at.scale === "detail") {
    const change = { ...painted, planes: painted.planes.map((v, i) => v - shown.planes[i]) };
    const full = mapsOf(levels);
    if (h >= low.h && w >= low.w) result = addChange(full, x, change);
    else {
      const reduced = resized(change, h, w);
      result = { ...full, planes: full.planes.map((v, i) => v + reduced.planes[i]) };
    }
  }
  const made = { pixels: pixelsOf(result), w: result.w, h: result.h, worked: [low.h, low.w] };
  if (at.scale === "fixed") made.before = pixelsOf(x);
  return { ...made, ms: performance.now() - began };
}

async function generate({ name, latents, label }) {
  const began = performance.now();
  const feeds = { input: new ort.Tensor("float32", latents, [1, latents.length]) };
  if (label !== null) feeds.labels = new ort.Tensor("int64", BigInt64Array.of(BigInt(label)), [1]);
  const output = await run(name, feeds);
  const [, c, h, w] = output.dims;
  return { pixels: pixelsOf({ h, w, c, planes: output.data }), w, h, ms: performance.now() - began };
}
