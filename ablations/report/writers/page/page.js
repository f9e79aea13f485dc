// What a cell of a table is worth in a sort: [0, number], then [1, words], then [2] for what is missing.
function worth(cell, isLabel) {
  const text = cell.textContent.trim();
  if (["", "-", "\u2212", "\u2013", "\u2014"].includes(text)) return [2];
  const number = isLabel ? null : /^[+\-\u2212]?(\d[\d,]*(\.\d+)?|\.\d+)(e[+-]?\d+)?/i.exec(text);
  return number ? [0, Number(number[0].replaceAll(",", "").replace("\u2212", "-"))] : [1, text];
}

// Words with numbers in them: 0.0003 before 0.001, 1e-3 before 0.01, 2 before 10.
const NUMBER = /((?<![\w.])[-\u2212])?(\d+(?:\.\d+)?|(?<!\d)\.\d+)(?:e[+-]?\d+)?/gi, words = new Intl.Collator();
function natural(a, b) {
  const [partsA, partsB] = [a, b].map((text) => {
    const parts = [];
    let from = 0;
    for (const match of text.matchAll(NUMBER)) {
      parts.push(text.slice(from, match.index), Number(match[0].replace("\u2212", "-")));
      from = match.index + match[0].length;
    }
    return [...parts, text.slice(from)];
  });
  for (let i = 0; i < Math.min(partsA.length, partsB.length); i++) {
    const difference = typeof partsA[i] === "number" ? partsA[i] - partsB[i] : words.compare(partsA[i], partsB[i]);
    if (difference) return difference;
  }
  return partsA.length - partsB.length;
}

// A click sorts upwards, the next one downwards, a third brings the study's own order back. What is missing stays last.
function makeSortable(table) {
  const bodies = [...table.tBodies]; // each a variant's row, with the paper's below it
  const heads = [...table.tHead.rows[0].cells];
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
      const rows = bodies.map((body, place) => ({ body, place, worth: worth(column ? body.rows[0].cells[column] : body.rows[0].querySelector(".label"), column === 0) }));
      rows.sort((a, b) => {
        const [kindA, valueA] = a.worth, [kindB, valueB] = b.worth;
        if (order === "none") return a.place - b.place;
        if (kindA !== kindB) return kindA - kindB;
        const difference = kindA === 0 ? valueA - valueB : kindA === 1 ? natural(valueA, valueB) : 0;
        return sign * difference || a.place - b.place;
      });
      for (const { body } of rows) table.insertBefore(body, table.tFoot);
    });
  });
}

// The filter: of each axis the values that are ticked, and words that a variant's name must have. What belongs to other variants goes.
function makeFilter(form) {
  const names = JSON.parse(form.dataset.names), values = JSON.parse(form.dataset.values), search = form.elements.words;
  const boxes = names.map((_, axis) => [...form.querySelectorAll(`[name="axis-${axis}"]`)]);
  const labels = values.map((places) => places.map((place, axis) => names[axis][place + 1]).join(" / "));
  const titles = new Map([...document.querySelectorAll("section [data-variants]:not(svg *)")].map((element) => [element, element.dataset.variants.split(" ").map(Number)]));
  for (const [element, [number]] of titles) if (element.matches(".cells")) labels[number] += ` ${element.querySelector("h3").textContent}`;
  let shown = values.map(() => true);
  const changed = () => {
    const wanted = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    shown = values.map((places, number) => places.every((place, axis) => boxes[axis][place].checked) && wanted.every((word) => labels[number].toLowerCase().includes(word)));
    for (const [element, numbers] of titles) element.hidden = !numbers.some((number) => shown[number]);
    const count = shown.filter(Boolean).length;
    form.querySelector("output").textContent = count === shown.length ? "" : `${count} of ${shown.length} variants shown; bold, fronts and findings: of all`;
    form.dispatchEvent(new Event("shown"));
  };
  const reset = () => {
    search.value = "";
    for (const box of boxes.flat()) box.checked = true;
  };
  form.addEventListener("input", changed);
  form.addEventListener("reset", (event) => {
    event.preventDefault(); // the browser would reset the boxes only after this
    reset();
    changed();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  const choices = form.querySelector("details");
  form.addEventListener("keydown", (event) => event.key === "Escape" && (choices.open = false));
  form.hidden = false;
  const isShown = (number) => shown[number];
  isShown.all = () => shown.every(Boolean);
  return {
    isShown,
    write(parameters) {
      names.forEach(([name, ...all], axis) => {
        if (boxes[axis].some((box) => !box.checked)) parameters.set(name, all.filter((_, i) => boxes[axis][i].checked).join("|"));
      });
      if (search.value.trim()) parameters.set("words", search.value.trim());
    },
    read(parameters) {
      reset();
      names.forEach(([name, ...all], axis) => {
        const ticked = parameters.get(name)?.split("|");
        if (ticked) all.forEach((value, i) => { boxes[axis][i].checked = ticked.includes(value); });
      });
      search.value = parameters.get("words") ?? "";
      changed();
    },
    reset() { reset(); changed(); },
  };
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

// A command goes to the clipboard; where the browser has none for a file, it is selected and copied the old way.
function makeCopying(button) {
  const pre = button.parentElement.querySelector("pre");
  button.hidden = false;
  button.addEventListener("click", async () => {
    let done = true;
    try {
      await navigator.clipboard.writeText(pre.textContent);
    } catch {
      pre.closest("details").open = true;
      getSelection().selectAllChildren(pre);
      done = document.execCommand("copy");
    }
    button.textContent = done ? "Copied" : "Press Ctrl-C";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
}

// Heads stay in sight below the filter: at the window's edge where the table fits, else within the table's own box.
function makeSticky() {
  const form = document.getElementById("filter");
  const measure = () => {
    const open = form?.querySelector("details").open, bar = form?.offsetHeight ?? 0; // what is unfolded may cover heads
    if (!open) document.documentElement.style.setProperty("--bar", `${bar}px`);
    for (const box of document.querySelectorAll("figure.table .scroll")) {
      box.classList.remove("fits");
      box.classList.toggle("fits", box.firstElementChild.scrollWidth <= box.clientWidth);
    }
  };
  measure();
  addEventListener("resize", measure);
  if (form) new ResizeObserver(measure).observe(form);
}

// The view in the page's address: the filter, each figure that was changed, and "at", the place that a link led to.
const form = document.getElementById("filter");
const everything = Object.assign(() => true, { all: () => true });
const filter = form ? makeFilter(form) : { isShown: everything, write() {}, read() {}, reset() {} };
document.querySelectorAll("table").forEach(makeSortable);
document.querySelectorAll("button.copy").forEach(makeCopying);
const enlarged = document.getElementById("enlarged");
const figures = [...document.querySelectorAll(".figures figure")].map((figure) => {
  const made = makeFigure(figure, filter.isShown, () => write());
  makeEnlargeable(figure, enlarged);
  return made;
});
enlarged.addEventListener("click", (event) => event.target === enlarged && enlarged.close()); // beside the figure
makeSticky();

function parameters(at) {
  const all = new URLSearchParams();
  filter.write(all);
  for (const figure of figures) if (figure.view()) all.set(`view.${figure.name}`, figure.view());
  const empty = [...all].length === 0;
  if (empty) return at ?? "";
  if (at) all.set("at", at);
  return all.toString();
}
function write() { // the address follows the view, and no step is added to the history
  const text = parameters();
  history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
}
function goTo(id) {
  const place = document.getElementById(id);
  if (!place) return;
  if (place.closest("[hidden]")) filter.reset(); // a link to a cell that the filter hides shows everything again
  place.scrollIntoView();
  document.querySelector(".reached")?.classList.remove("reached");
  if (!place.matches(".cells")) return;
  place.classList.add("reached");
  place.focus({ preventScroll: true });
}
function follow() { // what the address says, when the page opens and when somebody changes it
  const hash = location.hash.slice(1);
  let plain = hash;
  try { plain = decodeURIComponent(hash); } catch { /* a stray % is no id */ }
  if (document.getElementById(plain)) return goTo(plain);
  const all = new URLSearchParams(hash);
  for (const figure of figures) figure.setView(all.get(`view.${figure.name}`) ?? "");
  filter.read(all);
  for (const figure of figures) figure.show();
  if (all.get("at")) goTo(all.get("at"));
}
form?.addEventListener("shown", () => {
  for (const figure of figures) figure.show();
});
form?.addEventListener("input", write);
form?.addEventListener("reset", write);
document.addEventListener("click", (event) => { // a link within the page keeps the view in the address
  const link = event.target.closest?.('a[href^="#"]');
  if (!link || event.defaultPrevented || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const id = decodeURIComponent(link.getAttribute("href").slice(1));
  if (document.getElementById(id)?.closest("[hidden]")) filter.reset();
  history.pushState(null, "", `#${parameters(id)}`);
  goTo(id);
});
addEventListener("hashchange", follow);
addEventListener("popstate", follow);
if (location.hash) follow();
