"use strict";

// What a cell of a table is worth in a sort: [0, number], then [1, words], then [2] for what is missing.
function worth(cell, isLabel) {
  const text = cell.textContent.trim();
  if (["", "-", "\u2212", "\u2013", "\u2014"].includes(text)) return [2];
  const number = isLabel ? null : /^[+\-\u2212]?(\d[\d,]*(\.\d+)?|\.\d+)(e[+-]?\d+)?/i.exec(text);
  return number ? [0, Number(number[0].replaceAll(",", "").replace("\u2212", "-"))] : [1, text];
}

// A click sorts upwards, the next one downwards, a third brings the study's own order back. What is missing stays last.
function makeSortable(table) {
  const bodies = [...table.tBodies]; // each a variant's row, with the paper's below it
  const heads = [...table.tHead.rows[0].cells];
  const words = new Intl.Collator(undefined, { numeric: true });
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const order = { none: "ascending", ascending: "descending", descending: "none" }[head.getAttribute("aria-sort") ?? "none"];
      for (const other of heads) other.removeAttribute("aria-sort");
      if (order !== "none") head.setAttribute("aria-sort", order);
      const sign = order === "descending" ? -1 : 1;
      const rows = bodies.map((body, place) => ({ body, place, worth: worth(body.rows[0].cells[column], column === 0) }));
      rows.sort((a, b) => {
        const [kindA, valueA] = a.worth, [kindB, valueB] = b.worth;
        if (order === "none") return a.place - b.place;
        if (kindA !== kindB) return kindA - kindB;
        const difference = kindA === 0 ? valueA - valueB : kindA === 1 ? words.compare(valueA, valueB) : 0;
        return sign * difference || a.place - b.place;
      });
      for (const { body } of rows) table.insertBefore(body, table.tFoot);
    });
  });
}

// Hides what belongs to variants that are not ticked: rows, cells and, dimmed, points. Words typed tick the variants that have them all.
function makeFilter(form) {
  const boxes = [...form.elements.variant];
  const owned = [...document.querySelectorAll("[data-variants]")];
  const variantsOf = new Map(owned.map((element) => [element, element.dataset.variants.split(" ").map(Number)]));
  const show = () => {
    for (const [element, variants] of variantsOf) {
      const hidden = !variants.some((variant) => boxes[variant].checked);
      if (element.closest("svg")) element.classList.toggle("dim", hidden);
      else element.hidden = hidden;
    }
    const shown = boxes.filter((box) => box.checked).length;
    form.querySelector("output").textContent = shown === boxes.length ? "" : `${shown} of ${boxes.length} variants shown`;
  };
  form.elements.words.addEventListener("input", () => {
    const words = form.elements.words.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const box of boxes) {
      const name = box.parentElement.textContent.toLowerCase();
      box.checked = words.every((word) => name.includes(word));
    }
    show();
  });
  for (const box of boxes) box.addEventListener("change", show);
  form.addEventListener("reset", (event) => {
    event.preventDefault(); // the browser would reset the boxes only after this
    form.elements.words.value = "";
    for (const box of boxes) box.checked = true;
    show();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
}

// A figure moves into the dialog while it is open, so that its ids stay unique, and back when it closes.
function makeEnlargeable(figure, dialog) {
  const plot = figure.querySelector(".plot"), home = plot.parentElement, button = figure.querySelector(".enlarge");
  const enlarge = () => {
    const { width, height } = plot.viewBox.baseVal;
    home.style.minHeight = `${home.offsetHeight}px`; // nothing below it moves
    dialog.style.setProperty("--wide", width / height);
    dialog.querySelector(".room").replaceChildren(plot);
    button.focus({ preventScroll: true }); // where the focus returns when the dialog closes
    dialog.showModal();
    dialog.addEventListener("close", () => {
      home.append(plot);
      home.style.minHeight = "";
    }, { once: true });
  };
  button.hidden = false;
  button.addEventListener("click", enlarge);
  figure.classList.add("enlargeable");
  plot.addEventListener("click", (event) => {
    if (event.target.closest("a")) dialog.close(); // to where the link leads
    else if (!dialog.open) enlarge();
  });
}

// A link to a cell that the filter hides shows everything again.
function reveal() {
  const found = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!found) return;
  if (found.hidden) {
    document.getElementById("filter").reset();
    found.scrollIntoView();
  }
  if (found.matches(".cells")) found.focus({ preventScroll: true });
}

document.querySelectorAll("table").forEach(makeSortable);
document.querySelectorAll("form.filter").forEach(makeFilter);
const enlarged = document.getElementById("enlarged");
document.querySelectorAll(".figures figure").forEach((figure) => makeEnlargeable(figure, enlarged));
enlarged.addEventListener("click", (event) => event.target === enlarged && enlarged.close()); // beside the figure
addEventListener("hashchange", reveal);
