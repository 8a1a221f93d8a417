"use strict";
const INK = "#1a1a1a", BLUE = "#0072B2", RED = "#D55E00", GREEN = "#009E73", GREY = "#8a8a8a";
const PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7a5195", "#8c564b"];

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

function drawBlock(holder, data, block, chosen) {
  const get = name => unpack(block[name], block.scale);
  const curves = { data: get("data"), fit: get("fit"), baseline: get("baseline") };
  const residual = curves.data.map((v, i) => v - curves.fit[i]);
  const top = Math.max(...curves.data, ...curves.fit), lift = top + 1.15 * Math.max(0.06 * top, ...residual.map(v => -v));
  const series = [
    { x: data.ppm, y: curves.data, colour: INK, width: 1, label: "data" },
    { x: data.ppm, y: curves.baseline, colour: GREEN, width: 1.2, dash: "5 3", label: "baseline" },
    { x: data.ppm, y: curves.fit, colour: RED, width: 1.3, label: "fit" },
    { x: data.ppm, y: residual.map(v => v + lift), colour: GREY, width: 0.8, label: "residual" }];
  const all = chosen.length ? unpack(block.components, block.scale) : [], n = data.ppm.length;
  for (const m of chosen) {
    const y = all.slice(m * n, (m + 1) * n).map((v, i) => v + curves.baseline[i]);
    series.push({ x: data.ppm, y, colour: PALETTE[m % PALETTE.length], width: 1.6, label: data.names[m] });
  }
  chart(holder, { series, reverse: true, hideY: true, height: 300, title: block.title, xlabel: "Chemical shift (ppm)",
    lines: [], alt: `${block.title}: spectrum with fit, baseline and, above it, the residual; chemical shift from high to low` });
}

function drawScan(scan, data) {
  if (data.alignment) {
    drawAlignment(scan.querySelector(".alignment"), data.alignment);
    drawImages(scan, data.alignment);
  }
  if (data.transients) drawTransients(scan, data.transients);
  if (data.spectra) {
    const chosen = [...scan.querySelectorAll("input[data-component]:checked")].map(box => Number(box.dataset.component));
    scan.querySelectorAll("[data-block]").forEach(holder =>
      drawBlock(holder, data.spectra, data.spectra.blocks[Number(holder.dataset.block)], chosen));
    scan.querySelectorAll("label[data-key]").forEach(label => {
      const m = Number(label.dataset.key), on = chosen.includes(m);
      label.style.borderColor = on ? PALETTE[m % PALETTE.length] : "";
      label.style.boxShadow = on ? `inset 0 -3px ${PALETTE[m % PALETTE.length]}` : "";
    });
  }
}

const DATA = readData("data");
const scans = [...document.querySelectorAll(".scan")];
redrawOnResize(() => scans.forEach((scan, n) => drawScan(scan, DATA[n])));
scans.forEach((scan, n) => {
  scan.querySelectorAll("input[data-component]").forEach(box => box.addEventListener("change", () => drawScan(scan, DATA[n])));
  scan.querySelectorAll("button[data-choose]").forEach(button => button.addEventListener("click", () => {
    const wanted = button.dataset.choose.split(" ").filter(Boolean);
    scan.querySelectorAll("input[data-component]").forEach(box => { box.checked = wanted.includes(box.dataset.component); });
    drawScan(scan, DATA[n]);
  }));
  const measure = scan.querySelector("select[data-measure]");
  if (measure) measure.addEventListener("change", () =>
    scan.querySelectorAll("table[data-measure]").forEach(table => { table.hidden = table.dataset.measure !== measure.value; }));
});
