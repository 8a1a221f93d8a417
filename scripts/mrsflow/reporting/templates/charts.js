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

// options: series [{x, y, colour, width, dash, points, symbol, names, label}], xlabel, ylabel, title, height, reverse,
// hideY, image (fills the plot), xlim, ylim, lines [{x, label}], bands [{from, to}], alt
function chart(holder, options) {
  const width = Math.max(300, holder.clientWidth || 720), height = options.height || 240;
  const left = options.hideY ? 14 : 58, right = 10, top = options.title ? 24 : 10, bottom = 40;
  const svg = element("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": options.alt || options.title || "" });
  const [x0, x1] = options.xlim ? widened(options.xlim) : extent(options.series, s => s.x);
  let [y0, y1] = options.ylim ? widened(options.ylim) : extent(options.series, s => s.y);
  if (!options.ylim) { const pad = 0.06 * (y1 - y0); y0 -= pad; y1 += pad; }
  const sx = v => { const f = (v - x0) / (x1 - x0); return left + (options.reverse ? 1 - f : f) * (width - left - right); };
  const sy = v => top + (y1 - v) / (y1 - y0) * (height - top - bottom);
  const font = { "font-size": 12, "font-family": "system-ui, sans-serif", fill: "#1a1a1a" };
  for (const band of options.bands || [])
    element("rect", { x: Math.min(sx(band.from), sx(band.to)), width: Math.abs(sx(band.to) - sx(band.from)), y: top, height: height - top - bottom, fill: "#eef2f6" }, svg);
  if (options.image) element("image", { href: options.image, x: left, y: top, width: width - left - right, height: height - top - bottom, preserveAspectRatio: "none" }, svg);
  if (options.title) element("text", { x: left, y: 15, ...font, "font-weight": 600 }, svg, options.title);
  const axis = { stroke: "#1a1a1a", "stroke-width": 1, fill: "none" };
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
    element("path", { d: `M${sx(line.x)},${top}V${height - bottom}`, stroke: "#6b6b6b", "stroke-dasharray": "4 3" }, svg);
    if (line.label) element("text", { x: sx(line.x) + 4, y: top + 11, ...font, "font-size": 11, fill: "#595959" }, svg, line.label);
  }
  for (const s of options.series) s.points ? points(svg, s, sx, sy) : curve(svg, s, sx, sy);
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

function readData(id) { return JSON.parse(document.getElementById(id).textContent); }

function redrawOnResize(draw) {
  let last = window.innerWidth, timer;
  draw();
  window.addEventListener("resize", () => {
    if (window.innerWidth === last) return;
    last = window.innerWidth; clearTimeout(timer); timer = setTimeout(draw, 120);
  });
}
