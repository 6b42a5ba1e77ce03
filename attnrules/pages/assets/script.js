"use strict";
// Sorting, filtering, copying and keys. Text from a warehouse is only ever set as textContent.

function compare(a, b) {
  if (a === b) return 0;
  if (a === null || a === undefined || a === "") return 1;
  if (b === null || b === undefined || b === "") return -1;
  return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
}

function sortable(head, sort) {
  head.tabIndex = 0;
  const go = () => {
    const down = head.getAttribute("aria-sort") !== "descending";
    for (const other of head.parentElement.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    sort(down ? -1 : 1);
  };
  head.addEventListener("click", go);
  head.addEventListener("keydown", (event) => { if (event.key === "Enter") go(); });
}

function cellValue(row, at) {
  const text = row.children[at].textContent.trim();
  const number = Number.parseFloat(text);
  return Number.isNaN(number) || /[^0-9.%,\-–— ]/.test(text) ? (text === "—" ? null : text) : number;
}

function staticTable(table) {
  const body = table.tBodies[0];
  [...table.tHead.rows[0].cells].forEach((head, at) => sortable(head, (way) => {
    const rows = [...body.rows].sort((a, b) => {
      const [x, y] = [cellValue(a, at), cellValue(b, at)];
      return x === null || y === null ? compare(x, y) : way * compare(x, y);
    });
    body.append(...rows);
  }));
}

// The shape of a feature's activations: a bar a digit.
function spark(digits) {
  const bars = document.createElement("span");
  bars.className = "spark";
  bars.setAttribute("role", "img");
  bars.setAttribute("aria-label", "number of activations, from the weakest to the strongest");
  for (const digit of digits) {
    const bar = document.createElement("i");
    bar.style.height = `${2 * digit}px`;
    bars.append(bar);
  }
  return bars;
}

function featureTable(table) {
  const body = table.tBodies[0];
  const filter = document.getElementById("filter");
  const ruled = document.getElementById("ruled");
  const count = document.getElementById("count");
  const keys = [...table.tHead.rows[0].cells].map((head) => head.dataset.key || "spark");
  let rows = window.FEATURES || [];
  const draw = () => {
    const wanted = filter.value.toLowerCase();
    const shown = rows.filter((row) => (row.page || !ruled.checked)
      && (!wanted || [row.feature, row.description, row.says, row.statement].join(" ").toLowerCase().includes(wanted)));
    body.replaceChildren(...shown.map((row) => {
      const line = document.createElement("tr");
      for (const key of keys) {
        const cell = document.createElement("td");
        const value = row[key];
        if (key === "feature" && row.page) {
          const link = document.createElement("a");
          link.href = `${value}.html`;
          link.textContent = value;
          cell.append(link);
        } else if (key === "spark") {
          if (value) cell.append(spark(value));
        } else if (typeof value === "number") {
          cell.textContent = Number.isInteger(value) ? value.toLocaleString("en") : value.toFixed(2);
        } else {
          cell.textContent = value === null ? "—" : value;
        }
        if (!["description", "says", "statement", "spark"].includes(key)) cell.className = "n";
        line.append(cell);
      }
      return line;
    }));
    count.textContent = `${shown.length} of ${rows.length} features`;
  };
  [...table.tHead.rows[0].cells].filter((head) => head.dataset.key).forEach((head) => sortable(head, (way) => {
    rows = [...rows].sort((a, b) => {
      const [x, y] = [a[head.dataset.key], b[head.dataset.key]];
      return x === null || y === null ? compare(x, y) : way * compare(x, y);
    });
    draw();
  }));
  if (!rows.some((row) => row.page)) ruled.checked = false;
  filter.addEventListener("input", draw);
  ruled.addEventListener("change", draw);
  draw();
}

document.addEventListener("click", (event) => {
  if (!event.target.matches(".copy")) return;
  const code = event.target.parentElement.querySelector("code");
  const done = () => { event.target.textContent = "Copied"; };
  if (navigator.clipboard) {
    navigator.clipboard.writeText(code.textContent).then(done, () => getSelection().selectAllChildren(code));
  } else {
    getSelection().selectAllChildren(code);
  }
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, textarea")) return;
  const go = { j: "a[rel=next]", k: "a[rel=prev]", u: "a[rel=up]" }[event.key];
  const link = go && document.querySelector(go);
  if (link) link.click();
  const filter = document.getElementById("filter");
  if (event.key === "/" && filter) { event.preventDefault(); filter.focus(); }
});

for (const table of document.querySelectorAll("table.sortable")) {
  if (table.id === "features") featureTable(table);
  else staticTable(table);
}
