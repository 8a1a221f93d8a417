"use strict";
// Line and point charts as SVG, drawn for the width at hand. No library, no network.
const SVG = "http://www.w3.org/2000/svg";

function element(name, attributes, parent, text) {
  const made = document.createElementNS(SVG, name);
  for (const key in attributes) made.setAttribute(key, attributes[key]);
  if (text !== undefined) made.textContent = text;
  if (parent) parent.appendChild(made);
  return made;
}

function ticks(low, high, wanted) {
  const raw = (high - low) / Math.max(wanted, 1), power = Math.pow(10, Math.floor(Math.log10(raw)));
  const step = [1, 2, 2.5, 5, 10].map(m => m * power).find(s => s >= raw * 0.999);
  const found = [];
  for (let n = Math.ceil(low / step - 1e-9); n <= high / step + 1e-9; n++) found.push(n * step);
  return { at: found, digits: Math.max(0, (String(Number(step.toPrecision(6))).split(".")[1] || "").length) };
}

function extent(series, pick) {
  let low = Infinity, high = -Infinity;
  for (const s of series) for (const v of pick(s)) if (v !== null && isFinite(v)) { if (v < low) low = v; if (v > high) high = v; }
  return low > high ? [0, 1] : widened([low, high]);
}

function widened([low, high]) { return low === high ? [low - 0.5, high + 0.5] : [low, high]; }

// y of the points within the limits of x, and one to each side of them
function within(s, xlim) {
  const low = Math.min(...xlim), high = Math.max(...xlim);
  return s.y.filter((_, i) => s.x[i] >= low && s.x[i] <= high);
}

// options: margin (part of the range of x left free to each side), series [{x, y, low, high, colour, width, dash, points, symbol, names, label}], xlabel, ylabel, title, height,
// reverse, hideY, image (fills the plot), xlim, ylim, lines [{x, label}], bands [{from, to}], alt; what lies beyond the
// limits of x is clipped. The drawing knows the value of a place: svg.valueAt(x in px of the screen).
let clips = 0;
function chart(holder, options) {
  const width = Math.max(300, holder.clientWidth || 720), height = options.height || 240;
  const left = options.hideY ? 14 : 58, right = 10, top = options.title ? 24 : 10, bottom = 40;
  const svg = element("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": options.alt || options.title || "" });
  let [x0, x1] = options.xlim ? widened(options.xlim) : extent(options.series, s => s.x);
  if (options.margin) { const pad = options.margin * (x1 - x0); x0 -= pad; x1 += pad; }
  const seen = s => [...(options.xlim ? within(s, options.xlim) : s.y), ...(s.low || []), ...(s.high || [])];
  let [y0, y1] = options.ylim ? widened(options.ylim) : extent(options.series, seen);
  if (!options.ylim) { const pad = 0.06 * (y1 - y0); y0 -= pad; y1 += pad; }
  const sx = v => { const f = (v - x0) / (x1 - x0); return left + (options.reverse ? 1 - f : f) * (width - left - right); };
  const sy = v => top + (y1 - v) / (y1 - y0) * (height - top - bottom);
  const font = { "font-size": 12, "font-family": "system-ui, sans-serif", fill: "var(--ink)" };
  for (const band of options.bands || [])
    element("rect", { x: Math.min(sx(band.from), sx(band.to)), width: Math.abs(sx(band.to) - sx(band.from)), y: top, height: height - top - bottom, fill: "var(--band)" }, svg);
  if (options.image) element("image", { href: options.image, x: left, y: top, width: width - left - right, height: height - top - bottom, preserveAspectRatio: "none" }, svg);
  if (options.title) element("text", { x: left, y: 15, ...font, "font-weight": 600 }, svg, options.title);
  const axis = { stroke: "var(--ink)", "stroke-width": 1, fill: "none" };
  element("path", { d: `M${left},${height - bottom}H${width - right}`, ...axis }, svg);
  const xt = ticks(x0, x1, Math.max(3, Math.floor(width / 90)));
  for (const t of xt.at) {
    element("path", { d: `M${sx(t)},${height - bottom}v4`, ...axis }, svg);
    element("text", { x: sx(t), y: height - bottom + 17, "text-anchor": "middle", class: "xtick", ...font }, svg, t.toFixed(xt.digits));
  }
  element("text", { x: (left + width - right) / 2, y: height - 5, "text-anchor": "middle", class: "xlabel", ...font }, svg, options.xlabel);
  if (!options.hideY) {
    element("path", { d: `M${left},${top}V${height - bottom}`, ...axis }, svg);
    const yt = ticks(y0, y1, Math.floor(height / 40));
    for (const t of yt.at) {
      element("path", { d: `M${left},${sy(t)}h-4`, ...axis }, svg);
      element("text", { x: left - 7, y: sy(t) + 4, "text-anchor": "end", ...font }, svg, t.toFixed(yt.digits));
    }
    const middle = (top + height - bottom) / 2;
    element("text", { x: 13, y: middle, "text-anchor": "middle", transform: `rotate(-90 13 ${middle})`, class: "ylabel", ...font }, svg, options.ylabel);
  }
  for (const line of options.lines || []) {
    element("path", { d: `M${sx(line.x)},${top}V${height - bottom}`, stroke: "var(--soft)", "stroke-dasharray": "4 3" }, svg);
    if (line.label) element("text", { x: sx(line.x) + 4, y: top + 11, ...font, "font-size": 11, fill: "var(--soft)" }, svg, line.label);
  }
  const clip = `clip${clips++}`;
  element("rect", { x: left, y: 0, width: width - left - right, height: height - bottom }, element("clipPath", { id: clip }, svg));
  const plot = element("g", options.xlim ? { "clip-path": `url(#${clip})` } : {}, svg);
  for (const s of options.series) {
    if (s.low) whiskers(plot, s, sx, sy);
    s.points ? points(plot, s, sx, sy) : curve(plot, s, sx, sy);
  }
  svg.valueAt = place => {
    const box = svg.getBoundingClientRect(), f = ((place - box.left) * width / box.width - left) / (width - left - right);
    const inside = Math.min(1, Math.max(0, f));
    return x0 + (options.reverse ? 1 - inside : inside) * (x1 - x0);
  };
  holder.replaceChildren(svg);
  return svg;
}

function curve(svg, s, sx, sy) {
  let d = "", pen = "M";
  for (let i = 0; i < s.x.length; i++) {
    if (s.y[i] === null || !isFinite(s.y[i])) { pen = "M"; continue; }
    d += pen + sx(s.x[i]).toFixed(1) + "," + sy(s.y[i]).toFixed(1);
    pen = "L";
  }
  const made = element("path", { d, fill: "none", stroke: s.colour, "stroke-width": s.width || 1.2, "stroke-linejoin": "round", "data-series": s.label || "" }, svg);
  if (s.dash) made.setAttribute("stroke-dasharray", s.dash);
}

function whiskers(svg, s, sx, sy) {
  let d = "";
  s.x.forEach((x, i) => {
    if ([s.y[i], s.low[i], s.high[i]].some(v => v === null || !isFinite(v))) return;
    d += `M${sx(x) - 3},${sy(s.low[i])}h6m-3,0V${sy(s.high[i])}m-3,0h6`;
  });
  element("path", { d, fill: "none", stroke: s.colour, "stroke-width": 1.4, "data-series": `${s.label || ""} interval` }, svg);
}

function points(svg, s, sx, sy) {
  const group = element("g", { "data-series": s.label || "", stroke: s.colour, fill: s.symbol === "x" ? "none" : s.colour, "stroke-width": s.symbol === "x" ? 1.8 : 0 }, svg);
  s.x.forEach((x, i) => {
    if (s.y[i] === null || !isFinite(s.y[i])) return;
    const px = sx(x), py = sy(s.y[i]);
    const mark = s.symbol === "x"
      ? element("path", { d: `M${px - 4},${py - 4}l8,8m0,-8l-8,8` }, group)
      : element("circle", { cx: px.toFixed(1), cy: py.toFixed(1), r: s.radius || 2.2 }, group);
    if (s.names) element("title", {}, mark, s.names[i]);
  });
}

// A 16-bit curve: base64 of little-endian integers, times a scale.
function unpack(text, scale) {
  const bytes = Uint8Array.from(atob(text), c => c.charCodeAt(0)), view = new DataView(bytes.buffer), out = new Float64Array(bytes.length / 2);
  for (let i = 0; i < out.length; i++) out[i] = view.getInt16(2 * i, true) * scale;
  return out;
}

// Points between those of a curve, as zero-filling of its FID gives them: a sinc under a Hann window.
const REACH = 8;
function filled(values, factor) {
  const n = values.length, out = new Float32Array((n - 1) * factor + 1), kernels = [];
  for (let part = 0; part < factor; part++) {
    const own = [];
    for (let k = -REACH + 1; k <= REACH; k++) {
      const d = part / factor - k;
      own.push(d === 0 ? 1 : Math.sin(Math.PI * d) / (Math.PI * d) * (0.5 + 0.5 * Math.cos(Math.PI * d / REACH)));
    }
    const sum = own.reduce((a, b) => a + b, 0);
    kernels.push(own.map(v => v / sum));
  }
  for (let i = 0; i < out.length; i++) {
    const at = Math.floor(i / factor), kernel = kernels[i % factor];
    for (let j = 0; j < 2 * REACH; j++) out[i] += kernel[j] * values[Math.min(n - 1, Math.max(0, at + j - REACH + 1))];
  }
  return out;
}

function between(x, factor) {
  return Array.from({ length: (x.length - 1) * factor + 1 }, (_, i) => {
    const at = Math.min(Math.floor(i / factor), x.length - 2), part = i / factor - at;
    return x[at] + part * (x[at + 1] - x[at]);
  });
}

function readData(id) { return JSON.parse(document.getElementById(id).textContent); }

function redrawOnResize(draw) {
  let last = window.innerWidth, timer;
  draw();
  window.addEventListener("resize", () => {
    if (window.innerWidth === last) return;
    last = window.innerWidth; clearTimeout(timer); timer = setTimeout(draw, 120);
  });
}
