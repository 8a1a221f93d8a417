"use strict";
const INK = "var(--ink)", BLUE = "var(--blue)", RED = "var(--red)", GREEN = "var(--green)", GREY = "var(--grey)";
// of components: none is the colour of the fit or the baseline; in the second round they are dashed, then dotted
const PALETTE = ["var(--blue)", "#CC79A7", "#E69F00", "#56B4E9", "#7a5195", "#a6761d"], DASHES = ["", "6 3", "2 3"];
const DENSE = 4, ZERO_FILLING = 4;  // px between points above which curves are filled, and how often

function lookOf(order) { return { colour: PALETTE[order % PALETTE.length], dash: DASHES[Math.floor(order / PALETTE.length) % DASHES.length] }; }

function drawOutcome(holder, data) {
  if (!holder || !data) return;
  chart(holder, { height: 240, margin: 0.03, xlabel: "Time from event (min)", ylabel: data.label, lines: [{ x: 0 }],
    alt: `${data.label} of each block over time with 95 % intervals: ` + data.names.map((name, i) => `${name} ${data.value[i]}`).join(", "),
    series: [
      { x: data.minutes, y: data.value, colour: BLUE, width: 1.2, label: "line" },
      { x: data.minutes, y: data.value, low: data.low, high: data.high, points: true, radius: 3.5, colour: BLUE, label: "outcome",
        names: data.names.map((name, i) => `${name}: ${data.value[i]} [${data.low[i]}, ${data.high[i]}]`) }] });
}

function drawWater(holder, data) {
  if (!holder || !data) return;
  chart(holder, { height: 200, hideY: true, reverse: true, xlabel: "Frequency from the peak (Hz)", title: `Water reference, ${data.width_hz} Hz wide`,
    series: [{ x: data.hz, y: unpack(data.water, data.scale), colour: BLUE, label: "water" }],
    alt: `Spectrum of the water reference, full width at half height ${data.width_hz} Hz` });
}

function drawBasis(holder, data) {
  if (!holder || !data.names.length) return;
  const n = data.ppm.length, best = data.names.map(() => null);
  for (const block of data.blocks) {
    const all = unpack(block.components, block.scale);
    data.names.forEach((_, m) => {
      const y = all.slice(m * n, (m + 1) * n), top = y.reduce((high, v) => Math.max(high, Math.abs(v)), 0);
      if (top > (best[m] ? best[m].top : 0)) best[m] = { y, top };
    });
  }
  const row = 26, height = row * (data.names.length + 1) + 50;
  const svg = chart(holder, { height, hideY: true, reverse: true, xlabel: "Chemical shift (ppm)", ylim: [-0.6, data.names.length],
    alt: "Basis signals with the line shape of the fit, each scaled to its own height",
    series: data.names.map((name, m) => ({ x: data.ppm, label: name, colour: PALETTE[m % PALETTE.length], width: 1,
      y: best[m] ? best[m].y.map(v => 0.85 * v / best[m].top + data.names.length - 1 - m) : [] })) });
  data.names.forEach((name, m) => element("text", { x: 16, y: 10 + (m + 0.62) / (data.names.length + 0.6) * (height - 50), "font-size": 11,
    "font-family": "system-ui, sans-serif", fill: "var(--ink)" }, svg, best[m] ? name : `${name}: zero in every block`));
}

function drawCorrelation(holder, data) {
  if (!holder || !data.correlation) return;
  const names = data.names, n = names.length, values = unpack(data.correlation, 1 / 32767);
  const width = Math.max(300, holder.clientWidth || 700), left = 46, cell = Math.min(24, (width - left) / n), size = left + n * cell;
  const svg = element("svg", { viewBox: `0 0 ${size} ${size}`, role: "img", style: `max-width:${size}px`,
    "aria-label": "Correlations between the estimates of the fit; the strongest stand in the list beside" });
  const text = { "font-size": Math.min(10, cell * 0.7), "font-family": "system-ui, sans-serif", fill: "var(--ink)" };
  names.forEach((name, i) => {
    element("text", { x: left - 4, y: left + (i + 0.7) * cell, "text-anchor": "end", ...text }, svg, name);
    element("text", { transform: `translate(${left + (i + 0.7) * cell} ${left - 4}) rotate(-90)`, ...text }, svg, name);
    names.forEach((other, j) => {
      if (i === j) return;
      const r = values[i * n + j];
      const box = element("rect", { x: left + j * cell, y: left + i * cell, width: cell - 0.5, height: cell - 0.5, "fill-opacity": Math.abs(r).toFixed(3),
        fill: r < 0 ? BLUE : RED, stroke: "var(--line)", "stroke-width": 0.3 }, svg);
      element("title", {}, box, `${name} and ${other}: ${r.toFixed(2)}`);
    });
  });
  holder.replaceChildren(svg);
  const pairs = [];
  for (let i = 0; i < n; i++) for (let j = 0; j < i; j++) pairs.push([values[i * n + j], `${names[j]} and ${names[i]}`]);
  pairs.sort((a, b) => Math.abs(b[0]) - Math.abs(a[0]));
  holder.parentNode.querySelector("ol").replaceChildren(...pairs.slice(0, 8).map(([r, name]) => {
    const item = document.createElement("li");
    item.textContent = `${name}: ${r.toFixed(2).replace("-", "−")}`;
    return item;
  }));
}

function drawAlignment(holder, data) {
  const shown = ["before", "after"].filter(k => data[k]);
  chart(holder, { series: shown.map(k => ({ x: data.ppm, y: unpack(data[k], data.scale), label: k,
    colour: k === "before" ? RED : BLUE, width: k === "before" ? 1 : 1.3 })),
    reverse: true, hideY: true, height: 300, xlabel: "Chemical shift (ppm)",
    alt: "Mean spectrum before and after alignment, chemical shift from high to low" });
}

function drawImages(scan, data) {
  const single = data.image_minutes[0] === data.image_minutes[1];
  scan.querySelectorAll("[data-image]").forEach(holder => {
    holder.closest("figure").hidden = single;  // one average has no course to show
    if (single) return;
    const name = holder.dataset.image;
    chart(holder, { series: [], image: `data:image/png;base64,${data["image_" + name]}`, reverse: true, height: 260,
      xlim: data.image_ppm, ylim: data.image_minutes, xlabel: "Chemical shift (ppm)", ylabel: "Time from event (min)",
      title: name === "before" ? "Before" : "After", alt: `Transients over time ${name} alignment` });
  });
}

function drawTransients(scan, data) {
  const kept = data.rejected.map(r => !r), bands = data.blocks.filter((_, i) => i % 2 === 0).map(b => ({ from: b[0], to: b[1] }));
  const pick = (values, wanted) => values.filter((_, i) => kept[i] === wanted);
  for (const [key, label] of [["shift_hz", "Frequency shift (Hz)"], ["phase_deg", "Phase (degrees)"], ["amplitude", "Amplitude (relative)"]]) {
    const holder = scan.querySelector(`[data-course="${key}"]`);
    if (!holder || !data[key]) continue;
    chart(holder, { height: 190, ylabel: label, xlabel: "Time from event (min)", bands, lines: [{ x: 0 }],
      alt: `${label} of each transient over time; rejected transients are crosses`,
      series: [
        { x: pick(data.minutes, true), y: pick(data[key], true), points: true, colour: BLUE, label: "kept" },
        { x: pick(data.minutes, false), y: pick(data[key], false), points: true, symbol: "x", colour: RED, label: "rejected", names: pick(data.reason, false) }] });
  }
}

// Points of the curve that are drawn: more than were stored where these stand far apart on the screen.
function shownCurve(ppm, values, zoom, width) {
  const step = Math.abs(ppm[1] - ppm[0]) * width / Math.abs(zoom[1] - zoom[0]);
  const fill = step > DENSE ? ZERO_FILLING : 1;
  if (fill === 1) return { x: ppm, y: [...values] };
  const near = ppm.map((v, i) => [v, i]).filter(([v]) => v >= zoom[0] - 12 * Math.abs(ppm[1] - ppm[0]) && v <= zoom[1] + 12 * Math.abs(ppm[1] - ppm[0])).map(p => p[1]);
  const from = near[0], to = near[near.length - 1] + 1;
  return { x: between(ppm.slice(from, to), fill), y: [...filled(values.slice(from, to), fill)] };
}

function drawBlock(holder, data, block, chosen, zoom) {
  const get = name => unpack(block[name], block.scale), width = holder.clientWidth || 440;
  const drawn = (values, look) => ({ ...shownCurve(data.ppm, values, zoom, width), ...look });
  const observed = get("data"), series = [drawn(observed, { colour: INK, width: 1, label: "data" })];
  if (block.fit) {
    const fit = get("fit"), baseline = get("baseline"), residual = observed.map((v, i) => v - fit[i]);
    const seen = data.ppm.map((v, i) => i).filter(i => data.ppm[i] >= zoom[0] && data.ppm[i] <= zoom[1]);
    const top = Math.max(...seen.map(i => Math.max(observed[i], fit[i]))), deep = Math.max(0, ...seen.map(i => -residual[i]));
    const lift = top + 1.15 * Math.max(0.06 * Math.abs(top), deep);
    series.push(drawn(baseline, { colour: GREEN, width: 1.2, dash: "5 3", label: "baseline" }),
      drawn(fit, { colour: RED, width: 1.3, label: "fit" }), drawn(residual.map(v => v + lift), { colour: GREY, width: 0.8, label: "residual" }));
    const all = chosen.length ? unpack(block.components, block.scale) : [], n = data.ppm.length;
    chosen.forEach((m, order) => series.push(drawn(all.slice(m * n, (m + 1) * n).map((v, i) => v + baseline[i]),
      { ...lookOf(order), width: 1.6, label: data.names[m] })));
  }
  chart(holder, { series, reverse: true, hideY: true, height: 300, title: block.title, xlabel: "Chemical shift (ppm)",
    xlim: zoom, alt: `${block.title}: spectrum${block.fit ? " with fit, baseline and, above it, the residual" : ""}; chemical shift from high to low` });
}

function drawSpectra(scan, data) {
  const chosen = [...scan.querySelectorAll("input[data-component]:checked")].map(box => Number(box.dataset.component));
  const zoom = zoomOf(scan, data);
  scan.querySelectorAll("[data-block]").forEach(holder =>
    drawBlock(holder, data, data.blocks[Number(holder.dataset.block)], chosen, zoom));
  scan.querySelectorAll("label[data-key]").forEach(label => {
    const order = chosen.indexOf(Number(label.dataset.key)), look = lookOf(Math.max(0, order));
    label.style.borderColor = order >= 0 ? look.colour : "";
    label.style.boxShadow = order >= 0 ? `inset 0 -3px ${look.colour}` : "";
  });
}

// Range of the spectra in ppm, from the two boxes; all of it where these make no sense.
function zoomOf(scan, data) {
  const whole = [data.ppm[0], data.ppm[data.ppm.length - 1]];
  const given = [...scan.querySelectorAll("input[data-zoom]")].map(box => Number(box.value));
  const [low, high] = [Math.min(...given), Math.max(...given)];
  return high - low > 3 * Math.abs(data.ppm[1] - data.ppm[0]) && low < whole[1] && high > whole[0] ? [Math.max(low, whole[0]), Math.min(high, whole[1])] : whole;
}

function setZoom(scan, data, range) {
  const whole = [data.ppm[0], data.ppm[data.ppm.length - 1]], [low, high] = range || whole;
  const boxes = scan.querySelectorAll("input[data-zoom]");
  boxes[0].value = high.toFixed(2);
  boxes[1].value = low.toFixed(2);
  drawSpectra(scan, data);
}

// A drag over a spectrum shows that range in all of them, a double click all of it.
function zoomable(scan, data) {
  scan.querySelectorAll("[data-block]").forEach(holder => {
    let start = null;
    holder.addEventListener("pointerdown", event => {
      if (event.pointerType !== "touch" && event.button === 0) { start = event.clientX; event.preventDefault(); }
    });
    holder.addEventListener("pointerup", event => {
      const svg = holder.querySelector("svg");
      if (start !== null && svg && Math.abs(event.clientX - start) > 6)
        setZoom(scan, data, [svg.valueAt(start), svg.valueAt(event.clientX)].sort((a, b) => a - b));
      start = null;
    });
    holder.addEventListener("dblclick", () => setZoom(scan, data, null));
  });
  scan.querySelectorAll("input[data-zoom]").forEach(box => box.addEventListener("change", () => drawSpectra(scan, data)));
  scan.querySelector("button[data-whole]").addEventListener("click", () => setZoom(scan, data, null));
}

function drawScan(scan, data) {
  drawOutcome(scan.querySelector(".outcome"), data.outcome);
  drawWater(scan.querySelector(".water"), data.water);
  if (data.alignment) {
    drawAlignment(scan.querySelector(".alignment"), data.alignment);
    drawImages(scan, data.alignment);
  }
  if (data.transients) drawTransients(scan, data.transients);
  if (data.spectra) {
    drawSpectra(scan, data.spectra);
    drawCorrelation(scan.querySelector(".correlation"), data.spectra);
    drawBasis(scan.querySelector(".basis"), data.spectra);
  }
}

const DATA = readData("data");
const scans = [...document.querySelectorAll(".scan")];
redrawOnResize(() => scans.forEach((scan, n) => drawScan(scan, DATA[n])));
scans.forEach((scan, n) => {
  if (DATA[n].spectra) zoomable(scan, DATA[n].spectra);
  scan.querySelectorAll("details").forEach(part => part.addEventListener("toggle", () => part.open && drawScan(scan, DATA[n])));
  scan.querySelectorAll("input[data-component]").forEach(box => box.addEventListener("change", () => drawSpectra(scan, DATA[n].spectra)));
  scan.querySelectorAll("button[data-choose]").forEach(button => button.addEventListener("click", () => {
    const wanted = button.dataset.choose.split(" ").filter(Boolean);
    scan.querySelectorAll("input[data-component]").forEach(box => { box.checked = wanted.includes(box.dataset.component); });
    drawSpectra(scan, DATA[n].spectra);
  }));
  const measure = scan.querySelector("select[data-measure]");
  if (measure) measure.addEventListener("change", () =>
    scan.querySelectorAll("table[data-measure]").forEach(table => { table.hidden = table.dataset.measure !== measure.value; }));
});
