const table = document.getElementById("session-table"), rows = [...table.tBodies[0].rows];
const find = document.getElementById("find"), problems = document.getElementById("problems"), shown = document.getElementById("shown");
const texts = new Map(rows.map((row) => [row, [...row.cells].slice(0, -1).map((cell) => cell.textContent).join(" ").toLowerCase()]));
const verdict = document.getElementById("verdict");

function filterRows() {
  const wanted = find.value.trim().toLowerCase();
  let count = 0;
  for (const row of rows) {
    row.hidden = (problems.checked && !("problem" in row.dataset)) || (verdict.value && row.dataset.verdict !== verdict.value)
      || !texts.get(row).includes(wanted);
    if (!row.hidden) count++;
  }
  shown.textContent = `${count} of ${rows.length} sessions`;
}

const collator = new Intl.Collator("en", { numeric: true });

function valueOf(row, column) {
  const cell = row.cells[column], select = cell.querySelector("select");
  return select ? select.value : cell.textContent.trim();
}

// numbers by their size, missing ones last whichever way is up, all else as text with numbers in it
function compare(a, b, up) {
  const missing = (text) => text === "" || text === "–" || text === "missing" || text === "n/a";
  if (missing(a) || missing(b)) return missing(a) - missing(b);
  const [x, y] = [a, b].map((text) => Number(text.replace("−", "-")));
  return (Number.isNaN(x) || Number.isNaN(y) ? collator.compare(a, b) : x - y) * (up ? 1 : -1);
}

[...table.tHead.rows[0].cells].forEach((head, column) => {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "sort";
  button.textContent = head.textContent;
  head.replaceChildren(button);
  button.addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const keyed = rows.map((row) => [valueOf(row, column), row]).sort((a, b) => compare(a[0], b[0], up));
    table.tBodies[0].append(...keyed.map(([, row]) => row));
  });
});

// a note is one cell, and nothing that a spreadsheet runs
function plain(text) {
  return text.replace(/\s+/g, " ").trim().replace(/^[=+\-@]+\s*/, "").replaceAll('"', "'");
}

document.getElementById("ratings").addEventListener("click", () => {
  const lines = ["participant\tsession\trating\tnote"];
  for (const row of rows) {
    const rating = row.querySelector("select").value;
    const [, participant, session] = row.dataset.session.match(/^sub-(.*)_ses-(.*)$/);
    if (rating) lines.push([participant, session, rating, plain(row.querySelector("input").value) || "n/a"].join("\t"));
  }
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([lines.join("\n") + "\n"], { type: "text/tab-separated-values" }));
  link.download = "ratings.tsv";
  link.click();
  URL.revokeObjectURL(link.href);
});

find.addEventListener("input", filterRows);
problems.addEventListener("change", filterRows);
verdict.addEventListener("change", filterRows);
filterRows();

// on a narrow screen the courses are drawn for its width, one below the other
const courses = readData("data"), narrow = document.getElementById("narrow-courses");
function drawCourses() {
  if (!narrow.clientWidth) return;
  narrow.replaceChildren(...courses.map(() => document.createElement("div")));
  courses.forEach((course, n) => chart(narrow.children[n], { title: course.label, height: 220, margin: 0.04, xlabel: course.x, lines: course.zero ? [{ x: 0 }] : [],
    alt: `${course.label} over time: ${course.series.map(s => s.name).join(", ")}; the numbers stand in the table time_course`,
    series: course.series.flatMap((s, k) => {
      const look = { x: s.minutes, y: s.mean, colour: s.colour, label: s.name };
      return [{ ...look, dash: k ? "6 3" : "" }, { ...look, low: s.low, high: s.high, points: true, radius: 3 }];
    }) }));
  const legend = document.createElement("p");
  for (const s of courses.length ? courses[0].series : []) {
    const key = document.createElement("span");
    key.className = "key";
    key.style.color = s.colour;
    legend.append(key, `${s.name} `);
  }
  narrow.append(legend);
}
redrawOnResize(drawCourses);

// pages opened from disk may lack the clipboard; then a selection is copied
document.getElementById("copy").addEventListener("click", async () => {
  const source = document.getElementById("methods-text"), said = document.getElementById("copied");
  const text = [...source.children].map((part) => part.textContent).join("\n\n");
  try {
    await navigator.clipboard.writeText(text);
    said.textContent = "copied";
  } catch {
    getSelection().selectAllChildren(source);
    said.textContent = document.execCommand("copy") ? "copied" : "selected: press Ctrl-C";
  }
});
