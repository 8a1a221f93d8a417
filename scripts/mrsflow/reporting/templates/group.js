"use strict";
const rows = [...document.querySelectorAll("#session-table tbody tr")];
const find = document.getElementById("find"), problems = document.getElementById("problems"), shown = document.getElementById("shown");

function filterRows() {
  const wanted = find.value.trim().toLowerCase();
  let count = 0;
  for (const row of rows) {
    row.hidden = (problems.checked && !("problem" in row.dataset)) || !row.textContent.toLowerCase().includes(wanted);
    if (!row.hidden) count++;
  }
  shown.textContent = `${count} of ${rows.length} sessions`;
}

find.addEventListener("input", filterRows);
problems.addEventListener("change", filterRows);
filterRows();
