"use strict";

// A figure is an SVG. What follows its axes has data-moves; from data-panels the script knows the axes as they were drawn.
// It draws the same shapes for other limits and scales, and reads values from where they stand.
const TICKS = 5, NEAR = 12, FAR = 1e5; // ticks on an axis; reach of the pointer, and what browsers still draw, in the SVG's points
const scales = {
  linear: { to: (value) => value, back: (value) => value },
  log: { to: (value) => (value > 0 ? Math.log10(value) : NaN), back: (value) => 10 ** value },
};

function makeFigure(figure, isShown, onChange) {
  const plot = figure.querySelector(".plot"), tip = document.getElementById("tip");
  const panels = JSON.parse(plot.dataset.panels).map((facts, number) => ({ ...facts, number, group: plot.querySelector(`[data-panel="${number}"]`) }));
  const off = new Set(); // variants that the legend has switched off
  let ready = false, pinned = null;

  const ends = (panel, letter) => (letter === "x" ? [panel.box[0], panel.box[2]] : [panel.box[3], panel.box[1]]);
  const drawn = (axis) => [scales[axis.scale].to(axis.from), scales[axis.scale].to(axis.to)];
  function valueAt(panel, letter, place, axis = panel[letter]) { // from the SVG's points to the unit of the axis
    const [first, last] = ends(panel, letter), [low, high] = drawn(axis);
    return scales[axis.scale].back(low + ((place - first) / (last - first)) * (high - low));
  }
  function placeOf(panel, letter, value) { // where the axes stand now
    const [first, last] = ends(panel, letter), axis = panel.now[letter], [low, high] = drawn(axis);
    const place = first + ((scales[axis.scale].to(value) - low) / (high - low)) * (last - first);
    return Math.max(-FAR, Math.min(FAR, place));
  }
  const same = (axis, other) => axis.scale === other.scale && axis.from === other.from && axis.to === other.to;
  function moved(panel, letter, place) {
    return same(panel[letter], panel.now[letter]) ? place : placeOf(panel, letter, valueAt(panel, letter, place));
  }

  // The shapes of the panels, read when they are needed first: each corner as [command, x, y].
  function read() {
    if (ready) return;
    ready = true;
    for (const panel of panels) {
      panel.now = { x: panel.x, y: panel.y };
      panel.wanted = { x: null, y: null }; // limits and scale that were asked for
      panel.shapes = panel.group ? [...panel.group.querySelectorAll("[data-variants], [data-moves]")]
        .filter((group) => !group.parentElement.closest("[data-moves]") && !group.closest(".legend")).map((group) => readShape(panel, group)) : [];
      panel.axes = panel.group ? ["x", "y"].map((letter) => readAxis(panel, letter)) : [];
      panel.marks = panel.shapes.flatMap((shape) => shape.marks);
    }
  }
  function readShape(panel, group) {
    const nodes = [];
    for (const node of group.querySelectorAll("path, use, circle")) {
      if (node.closest("defs")) continue;
      if (node.tagName === "path") nodes.push({ node, corners: readPath(node.getAttribute("d")) });
      else {
        const names = node.tagName === "use" ? ["x", "y"] : ["cx", "cy"];
        nodes.push({ node, names, corners: [["M", ...names.map((name) => Number(node.getAttribute(name)))]] });
      }
    }
    const at = group.dataset.at?.split(",").map(Number);
    const shape = { panel, group, nodes, at, moves: group.dataset.moves ?? "", owners: owners(group) };
    shape.marks = readMarks(shape);
    return shape;
  }
  const owners = (element) => element.dataset.variants?.split(" ").map(Number);
  function readPath(d) {
    const corners = [];
    for (const [, command, numbers] of d.matchAll(/([MLCQZz])([^MLCQZz]*)/g)) {
      const all = numbers.match(/-?[\d.]+(?:e-?\d+)?/g)?.map(Number) ?? [];
      if (!all.length) corners.push(["Z"]);
      for (let i = 0; i < all.length; i += 2) corners.push([i ? (command === "M" ? "L" : ",") : command, all[i], all[i + 1]]);
    }
    return corners;
  }
  // The points whose values can be read: of a curve its corners, else its markers, of a square its middle.
  function readMarks(shape) {
    const links = [...shape.group.querySelectorAll("a.point")], marks = [];
    const add = (link, x, y, owner, square) => marks.push({ shape, link, x, y, owner, square });
    if (!links.length) return marks;
    const uses = shape.nodes.filter(({ node }) => node.tagName === "use");
    const path = shape.nodes.find(({ node }) => node.tagName === "path");
    if (links.length === 1 && path?.node.matches(".hit")) {
      const xs = path.corners.map((c) => c[1]).filter(Number.isFinite), ys = path.corners.map((c) => c[2]).filter(Number.isFinite);
      const square = [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
      add(links[0], (square[0] + square[2]) / 2, (square[1] + square[3]) / 2, shape.owners, square);
    } else if (links.length === 1 && path && shape.moves !== "xy") add(links[0], (shape.panel.box[0] + shape.panel.box[2]) / 2, path.corners[0][2], shape.owners);
    else if (links.length === 1 && path && path.corners.length > uses.length) {
      for (const [command, x, y] of path.corners) if (command !== "Z") add(links[0], x, y, shape.owners);
    } else for (const { node, corners } of uses) {
      const link = node.closest("a.point");
      if (link) add(link, corners[0][1], corners[0][2], owners(node.closest("[data-variants]")));
    }
    return marks;
  }
  function readAxis(panel, letter) {
    const ticks = [...panel.group.querySelectorAll(`.tick.${letter}`)].filter((tick) => tick.closest("[data-panel]") === panel.group);
    const offset = ticks[0]?.parentElement.querySelector(".offset");
    const model = ticks.find((tick) => tick.querySelector("text")) ?? ticks[0];
    const use = model?.querySelector("use"), path = model?.querySelector("path:not(defs path)");
    const place = use ? Number(use.getAttribute(letter)) : path ? readPath(path.getAttribute("d"))[0][letter === "x" ? 1 : 2] : null;
    const words = (panel[letter].ticks ?? []).some(([, text]) => text && !/^[\d.,eE+\u2212-]+/.test(text));
    return { panel, letter, ticks, offset, model, place, words, fresh: [] };
  }

  // What is shown decides the limits: they keep the margins they were drawn with.
  const visible = (numbers) => !numbers || numbers.some((number) => isShown(number) && !off.has(number));
  function reach(panel, letter, shown, scale) { // the smallest and largest of the values in sight, on a scale
    const [left, top, right, bottom] = panel.box, i = letter === "x" ? 1 : 2;
    let low = Infinity, high = -Infinity;
    for (const shape of panel.shapes) {
      if (shape.moves !== "xy" || !shape.owners || (shown && !visible(shape.owners))) continue;
      for (const { node, corners } of shape.nodes) {
        const one = node.closest("[data-variants]");
        if (shown && one !== shape.group && !visible(owners(one))) continue;
        for (const corner of corners) {
          if (corner[0] === "Z" || corner[1] < left - 0.5 || corner[1] > right + 0.5 || corner[2] < top - 0.5 || corner[2] > bottom + 0.5) continue;
          const value = scale.to(valueAt(panel, letter, corner[i]));
          if (value < low) low = value;
          if (value > high) high = value;
        }
      }
    }
    return [low, high];
  }
  function limits(group, letter, scale) { // of panels that share an axis
    const axis = group[0][letter], { to, back } = scales[scale];
    const over = (shown) => group.map((panel) => reach(panel, letter, shown, scales[scale])).reduce(([a, b], [c, d]) => [Math.min(a, c), Math.max(b, d)], [Infinity, -Infinity]);
    const all = over(false), now = over(true);
    if (!Number.isFinite(now[0])) return { scale, from: axis.from, to: axis.to };
    if (scale !== axis.scale) {
      const margin = 0.06 * (now[1] - now[0] || 1);
      return { scale, from: back(now[0] - margin), to: back(now[1] + margin) };
    }
    if (now[0] === all[0] && now[1] === all[1]) return axis;
    const span = all[1] - all[0] || 1, part = (now[1] - now[0]) / span || 0.2, middle = now[1] === now[0] ? 0.1 * span : 0;
    const [low, high] = drawn(axis);
    return { scale, from: back(now[0] - middle - (all[0] - low) * part), to: back(now[1] + middle + (high - all[1]) * part) };
  }
  function settle() {
    for (const letter of ["x", "y"]) {
      for (const first of new Set(panels.map((panel) => panel[letter].shared))) {
        const group = panels.filter((panel) => panel.moves && panel[letter].shared === first);
        if (!group.length) continue;
        const wanted = group[0].wanted[letter], scale = wanted?.scale ?? group[0][letter].scale;
        const now = wanted?.from !== undefined ? wanted : limits(group, letter, scale);
        for (const panel of group) panel.now[letter] = now;
      }
    }
  }

  function show() {
    const quiet = !ready && !off.size && isShown.all();
    if (quiet) return;
    read();
    settle();
    for (const panel of panels) {
      if (!panel.group) continue;
      let any = false, owned = false;
      for (const shape of panel.shapes) {
        const shown = visible(shape.owners);
        if (shape.owners) [owned, any] = [true, any || shown];
        toggle(shape.group, shown);
        for (const one of shape.group.querySelectorAll("[data-variants]")) toggle(one, visible(owners(one)));
        if (shown && panel.moves && shape.moves && !shape.at) redraw(shape);
      }
      if (panel.moves) placeWords(panel);
      toggle(panel.group, any || !owned);
      if (panel.moves) panel.axes.forEach(redrawTicks);
      else removeRows(panel);
    }
    for (const entry of plot.querySelectorAll(".legend [data-variants]")) {
      const numbers = owners(entry);
      toggle(entry, numbers.some((number) => isShown(number)));
      entry.classList.toggle("off", numbers.every((number) => off.has(number)));
      if (entry.hasAttribute("aria-pressed")) entry.setAttribute("aria-pressed", String(!entry.classList.contains("off")));
    }
    packLegends();
    hide();
  }
  // The entries of a legend that are left move up to the first places.
  function packLegends() {
    for (const legend of plot.querySelectorAll(".legend")) {
      const entries = [], parts = [...legend.querySelectorAll("[data-variants]")];
      for (const part of parts) { // a handle, then its words
        if (part.querySelector("text") || !entries.length || entries.at(-1).words) (entries.length && !entries.at(-1).words && part.querySelector("text") ? entries.at(-1).parts.push(part) : entries.push({ parts: [part] }));
        else entries.at(-1).parts.push(part);
        if (part.querySelector("text")) entries.at(-1).words = part.querySelector("text");
      }
      if (entries.some((entry) => !entry.words)) continue;
      const places = entries.map(({ words }) => [Number(words.getAttribute("x")), Number(words.getAttribute("y"))]);
      if (places.flat().some((number) => !Number.isFinite(number))) continue;
      let next = 0;
      entries.forEach((entry, i) => {
        if (entry.parts[0].style.display === "none") return;
        const to = places[next++], by = [to[0] - places[i][0], to[1] - places[i][1]];
        for (const part of entry.parts) if (by[0] || by[1]) part.setAttribute("transform", `translate(${by[0].toFixed(2)} ${by[1].toFixed(2)})`); else part.removeAttribute("transform");
      });
    }
  }
  const toggle = (element, shown) => { element.style.display = shown ? "" : "none"; };

  function redraw({ panel, nodes, moves }) {
    const follow = [moves.includes("x") ? (p) => moved(panel, "x", p) : (p) => p, moves.includes("y") ? (p) => moved(panel, "y", p) : (p) => p];
    for (const { node, names, corners } of nodes) {
      if (names) {
        const place = [follow[0](corners[0][1]), follow[1](corners[0][2])], real = place.every(Number.isFinite);
        toggle(node, real);
        if (real) names.forEach((name, i) => node.setAttribute(name, place[i].toFixed(3)));
        continue;
      }
      let d = "", pen = "M";
      for (const [command, x, y] of corners) {
        if (command === "Z") { d += "Z"; pen = "M"; continue; }
        const place = [follow[0](x), follow[1](y)];
        if (!place.every(Number.isFinite)) { pen = "M"; continue; } // a logarithm has no such value: a gap
        d += `${command === "," ? " " : pen === "M" ? "M" : command}${place[0].toFixed(3)} ${place[1].toFixed(3)}`;
        pen = "L";
      }
      node.setAttribute("d", d);
    }
  }
  // The words beside points: where they were drawn, or else at the first place around their point that is free.
  const AROUND = [[1, 0], [-1, 0], [0, -1], [0, 1], [1, -1], [1, 1], [-1, -1], [-1, 1]], REACH = [5, 12, 22, 34];
  function placeWords(panel) {
    const asDrawn = same(panel.x, panel.now.x) && same(panel.y, panel.now.y) && panel.shapes.every((shape) => visible(shape.owners));
    const [left, top, right, bottom] = panel.box, taken = [];
    const spots = panel.shapes.filter((shape) => shape.marks.length && shape.nodes.length && shape.marks.length < 9 && visible(shape.owners)).flatMap((shape) => shape.marks.map(nowAt));
    for (const [x, y] of spots) taken.push([x - 3, y - 3, x + 3, y + 3]);
    for (const shape of panel.shapes) {
      if (!shape.at || !visible(shape.owners)) continue;
      const text = shape.group.querySelector("text"), [x, y] = ["x", "y"].map((letter, i) => placeOf(panel, letter, shape.at[i]));
      shape.group.removeAttribute("transform");
      toggle(shape.group, asDrawn || Boolean(text && x > left - 1 && x < right + 1 && y > top - 1 && y < bottom + 1)); // lines that lead to words go
      if (asDrawn || !text || shape.group.style.display) continue;
      const box = text.getBBox(), places = [];
      for (const far of REACH) for (const [across, down] of AROUND) {
        const cx = x + across * (far + box.width / 2), cy = y + down * (far + box.height / 2), place = [cx - box.width / 2, cy - box.height / 2, cx + box.width / 2, cy + box.height / 2];
        const out = Math.max(0, left - place[0]) + Math.max(0, place[2] - right) + Math.max(0, top - place[1]) + Math.max(0, place[3] - bottom);
        const over = taken.reduce((sum, other) => sum + Math.max(0, Math.min(place[2], other[2]) - Math.max(place[0], other[0])) * Math.max(0, Math.min(place[3], other[3]) - Math.max(place[1], other[1])), 0);
        places.push([over + 50 * out + far / 10, place]);
      }
      const [, best] = places.reduce((a, b) => (b[0] < a[0] ? b : a));
      taken.push(best);
      shape.group.setAttribute("transform", `translate(${(best[0] - box.x).toFixed(2)} ${(best[1] - box.y).toFixed(2)})`);
    }
  }

  // Ticks of limits that were never drawn are copies of the first tick.
  function redrawTicks(axis) {
    const { panel, letter, ticks, offset, model, place, fresh } = axis;
    fresh.splice(0).forEach((tick) => tick.remove());
    const now = panel.now[letter], asDrawn = same(now, panel[letter]);
    for (const tick of ticks) toggle(tick, asDrawn);
    if (offset) toggle(offset, asDrawn);
    if (asDrawn || !model || place === null) return;
    for (const [value, text] of ticksOf(axis, now)) {
      const to = placeOf(panel, letter, value), [first, last] = ends(panel, letter);
      if (to < Math.min(first, last) - 0.01 || to > Math.max(first, last) + 0.01) continue;
      const tick = model.cloneNode(true), words = tick.querySelector("text");
      tick.querySelectorAll("defs").forEach((defs) => defs.remove());
      toggle(tick, true);
      tick.setAttribute("transform", letter === "x" ? `translate(${to - place} 0)` : `translate(0 ${to - place})`);
      if (words) words.textContent = text;
      model.before(tick);
      fresh.push(tick);
    }
  }
  function ticksOf({ panel, letter }, { scale, from, to }) {
    const low = Math.min(from, to), high = Math.max(from, to), fixed = panel[letter].ticks;
    if (fixed) {
      const inside = fixed.filter(([value]) => value >= low && value <= high);
      if (inside.length > 1 || fixed.some(([, text]) => /[^\d.,eE+\u2212-]/.test(text))) return apart(panel, letter, inside);
    }
    if (scale === "log") {
      for (const parts of [[1], [1, 2, 5]]) {
        const found = [];
        for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power++)
          for (const part of parts) if (part * 10 ** power >= low && part * 10 ** power <= high) found.push(part * 10 ** power);
        if (found.length > 2) return apart(panel, letter, found.map((value) => [value, String(Number(value.toPrecision(3)))]));
      }
    }
    const rough = (high - low) / TICKS, power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 5, 10].find((part) => part * power >= rough), places = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    const found = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high * (1 + 1e-12); i++) found.push([i * step, tickText(i * step, places)]);
    return found;
  }
  const tickText = (value, places) => (Math.abs(value) >= 1e5 ? new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 2 }).format(value) : value.toFixed(places).replace("-", "\u2212"));
  function apart(panel, letter, ticks) { // those that would be written over another are left out
    let last = -Infinity;
    const width = (text) => (letter === "x" ? 4.5 * text.length + 3 : 8);
    return ticks.filter(([value, text]) => {
      const place = Math.abs(placeOf(panel, letter, value) - ends(panel, letter)[0]), free = place - last >= width(text);
      if (free) last = place;
      return free;
    });
  }

  // A heat map: the rows of variants that are not shown go, the others take their room.
  function removeRows(panel) {
    const rows = new Map(); // top of a row -> its squares
    for (const { square, owner } of panel.marks ?? []) if (square) rows.set(square[1].toFixed(1), { top: square[1], bottom: square[3], shown: visible(owner) });
    if (!rows.size) return;
    const all = [...rows.values()].sort((a, b) => a.top - b.top), kept = all.filter((row) => row.shown);
    const [top, bottom] = [all[0].top, all.at(-1).bottom], height = kept.length ? (bottom - top) / kept.length : 0;
    const rowAt = (y) => all.findIndex((row) => y > row.top - 0.01 && y < row.bottom - 0.01);
    const toY = (y, row) => { // how a height within a row moves
      const i = kept.indexOf(row);
      return top + i * height + ((y - row.top) / (row.bottom - row.top)) * height;
    };
    panel.squares ??= [...panel.group.querySelectorAll("path")].filter((path) => !path.closest("defs, .tick") && !path.matches(".hit"))
      .map((node) => ({ node, corners: readPath(node.getAttribute("d")) })).filter(({ corners }) => corners.some(([command]) => command === "Z") && rowsSpanned(corners) === 1);
    function rowsSpanned(corners) {
      const ys = corners.filter((corner) => corner.length > 2).map((corner) => corner[2]);
      const low = Math.min(...ys), high = Math.max(...ys);
      return all.some((row) => low > row.top - 0.1 && high < row.bottom + 0.1) && high - low > 1 ? 1 : 0;
    }
    const middle = (corners) => { const ys = corners.filter((corner) => corner.length > 2).map((corner) => corner[2]); return (Math.min(...ys) + Math.max(...ys)) / 2; };
    const hits = panel.shapes.flatMap(({ nodes }) => nodes).filter(({ node }) => node.matches(".hit"));
    for (const { node, corners } of [...panel.squares, ...hits]) {
      const row = all[rowAt(middle(corners))];
      if (!row) continue;
      if (!node.matches(".hit")) toggle(node, row.shown);
      if (row.shown) node.setAttribute("d", corners.map(([command, x, y]) => (command === "Z" ? "Z" : `${command === "," ? " " : command}${x} ${toY(y, row).toFixed(3)}`)).join(""));
    }
    const shift = (element, y) => {
      const row = all[rowAt(y)];
      if (!row) return;
      if (row.shown) element.setAttribute("transform", `translate(0 ${(toY((row.top + row.bottom) / 2, row) - (row.top + row.bottom) / 2).toFixed(2)})`);
      toggle(element, row.shown);
    };
    for (const tick of panel.group.querySelectorAll(".tick.y")) {
      const use = tick.querySelector("use"), words = tick.querySelector("text");
      if (use || words) shift(tick, use ? Number(use.getAttribute("y")) : Number(words.getAttribute("y")) - 3);
    }
    for (const { group } of panel.shapes) {
      const words = group.querySelector(":scope > text");
      if (words) shift(group, Number(words.getAttribute("y")) - 3);
    }
  }

  // Values: of the point nearest to the pointer, or of the one that has the focus.
  function words(panel, letter, place) {
    const axis = panel[letter], value = valueAt(panel, letter, place), step = Math.abs(valueAt(panel, letter, place + 0.002) - value);
    const fixed = axis.ticks?.find(([at]) => Math.abs(at - value) <= 2 * step);
    if (fixed?.[1]) return fixed[1];
    const places = Math.max(0, Math.min(100, -Math.ceil(Math.log10(step))));
    const digits = Number(Number(value.toFixed(places)).toPrecision(5));
    return Math.abs(digits) >= 1e5 ? digits.toLocaleString("en") : String(digits);
  }
  function spread(mark) { // what a bar or a band of the same variant spans here
    const ys = [];
    for (const shape of mark.shape.panel.shapes) {
      if (shape === mark.shape || shape.moves !== "xy" || shape.at || shape.group.querySelector("a.point") || shape.owners?.join() !== mark.owner?.join()) continue;
      for (const { node, corners } of shape.nodes) if (node.tagName === "path") for (const corner of corners) if (Math.abs(corner[1] - mark.x) < 0.02) ys.push(corner[2]);
    }
    if (ys.length < 2) return "";
    const [low, high] = [Math.max(...ys), Math.min(...ys)];
    const texts = [low, high].map((place) => words(mark.shape.panel, "y", place));
    return texts[0] === texts[1] ? "" : ` (${texts[0]} to ${texts[1]})`;
  }
  function lines(mark) {
    const { panel } = mark.shape;
    if (mark.square) {
      const rows = [mark.link.dataset.label];
      const near = (letter) => panel[letter].ticks?.find(([at]) => Math.abs(placeOf(panel, letter, at) - (letter === "x" ? mark.x : mark.y)) < 1)?.[1];
      if (near("x")) rows.push(`${panel.x.label || "column"}: ${near("x")}`);
      const text = [...panel.group.querySelectorAll("[data-variants] > text")].find((one) => Math.abs(Number(one.getAttribute("x")) - mark.x) < 8 && Math.abs(Number(one.getAttribute("y")) - mark.y) < 6);
      if (text) rows.push(text.textContent);
      return rows;
    }
    const y = `${panel.y.label || "value"}: ${words(panel, "y", mark.y)}${spread(mark)}`;
    return mark.shape.moves === "xy" ? [mark.link.dataset.label, `${panel.x.label || "value"}: ${words(panel, "x", mark.x)}`, y] : [mark.link.dataset.label, y];
  }
  const nowAt = ({ shape: { panel, moves }, x, y }) => (panel.moves ? [moves.includes("x") ? moved(panel, "x", x) : x, moves.includes("y") ? moved(panel, "y", y) : y] : [x, y]);
  function inBox(panel, [x, y]) {
    return x >= panel.box[0] - 3 && x <= panel.box[2] + 3 && y >= panel.box[1] - 3 && y <= panel.box[3] + 3;
  }
  function present(mark) {
    const [x, y] = nowAt(mark), [head, ...rest] = lines(mark), strong = document.createElement("strong");
    strong.textContent = head;
    tip.replaceChildren(strong, ...rest.map((line) => { const div = document.createElement("div"); div.textContent = line; return div; }));
    (plot.closest("dialog") ?? document.body).append(tip); // a dialog stands above everything else
    tip.hidden = false;
    const at = new DOMPoint(x, y).matrixTransform(plot.getScreenCTM()), { width, height } = tip.getBoundingClientRect();
    const left = Math.min(Math.max(4, at.x + 12), document.documentElement.clientWidth - width - 4);
    tip.style.left = `${left}px`;
    tip.style.top = `${at.y - height - 10 > 0 ? at.y - height - 10 : at.y + 14}px`;
    ring(x, y, mark.square);
  }
  let circle = null;
  function ring(x, y, square) {
    circle?.remove();
    circle = null;
    if (square) return;
    circle = document.createElementNS("http://www.w3.org/2000/svg", "circle");
    for (const [name, value] of Object.entries({ cx: x, cy: y, r: 4, class: "ring" })) circle.setAttribute(name, value);
    plot.append(circle);
  }
  function hide() {
    if (!pinned) tip.hidden = true;
    circle?.remove();
    circle = null;
  }
  const seen = (panel) => (panel.marks ?? []).filter((mark) => visible(mark.owner));
  function nearest(event) {
    const { x, y } = new DOMPoint(event.clientX, event.clientY).matrixTransform(plot.getScreenCTM().inverse());
    const link = event.target.closest?.("a.point");
    let best = null, least = NEAR;
    for (const panel of panels) {
      if (!panel.group || !inBox(panel, [x, y])) continue;
      for (const mark of seen(panel)) {
        const at = nowAt(mark);
        if (mark.square) {
          if (x > mark.square[0] && x < mark.square[2] && mark.link === link) return mark;
          continue;
        }
        const distance = mark.shape.moves === "xy" ? Math.hypot(at[0] - x, at[1] - y) : Math.abs(at[1] - y);
        if ((distance < least || (mark.link === link && least > NEAR - 1e-9 && distance < 60)) && inBox(panel, at)) [best, least] = [mark, Math.min(distance, NEAR - 1e-6)];
      }
    }
    return best;
  }
  let frame = 0;
  plot.addEventListener("pointermove", (event) => {
    if (drag) return;
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(() => {
      read();
      const mark = nearest(event);
      if (mark) present(mark);
      else if (!pinned) hide();
    });
  });
  plot.addEventListener("pointerleave", () => { cancelAnimationFrame(frame); if (pinned) present(pinned); else hide(); });
  plot.addEventListener("focusin", (event) => {
    const link = event.target.closest("a.point");
    if (!link || !link.matches(":focus-visible")) return;
    read();
    const own = panels.flatMap(seen).filter((mark) => mark.link === link);
    pinned = own.at(-1) ?? null;
    if (pinned) present(pinned);
  });
  plot.addEventListener("focusout", () => { pinned = null; hide(); });
  plot.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !tip.hidden) { pinned = null; hide(); event.stopPropagation(); event.preventDefault(); return; }
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by || !pinned) return;
    event.preventDefault();
    const own = panels.flatMap(seen).filter((mark) => mark.link.getAttribute("href") === pinned.link.getAttribute("href") && mark.shape === pinned.shape);
    pinned = own[Math.max(0, Math.min(own.length - 1, own.indexOf(pinned) + by))];
    present(pinned);
  });
  for (const link of plot.querySelectorAll("a.point")) { // the browser would show its title beside ours
    const title = link.querySelector("title");
    link.setAttribute("aria-label", title.textContent.replaceAll("\n", ", "));
    title.remove();
  }

  // Zoom: a rectangle drawn with the mouse, or buttons.
  let drag = null, justDragged = false;
  const inSvg = (event) => new DOMPoint(event.clientX, event.clientY).matrixTransform(plot.getScreenCTM().inverse());
  plot.addEventListener("pointerdown", (event) => {
    if (event.pointerType === "touch" || event.button) return; // a finger scrolls
    read();
    const from = inSvg(event), panel = panels.findLast((one) => one.group && one.moves && inBox(one, [from.x, from.y]));
    if (panel) drag = { panel, from, rect: null };
  });
  addEventListener("pointermove", (event) => {
    if (!drag) return;
    const to = inSvg(event), { panel, from } = drag, clamp = (value, low, high) => Math.max(low, Math.min(high, value));
    if (!drag.rect && Math.hypot(to.x - from.x, to.y - from.y) < 4) return;
    if (!drag.rect) {
      drag.rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
      drag.rect.setAttribute("class", "zoom");
      plot.append(drag.rect);
      hide();
    }
    drag.to = { x: clamp(to.x, panel.box[0], panel.box[2]), y: clamp(to.y, panel.box[1], panel.box[3]) };
    const size = { x: Math.min(from.x, drag.to.x), y: Math.min(from.y, drag.to.y), width: Math.abs(from.x - drag.to.x), height: Math.abs(from.y - drag.to.y) };
    for (const [name, value] of Object.entries(size)) drag.rect.setAttribute(name, value);
  });
  addEventListener("pointerup", () => {
    if (!drag) return;
    const { panel, from, to, rect } = drag;
    drag = null;
    if (!rect) return;
    rect.remove();
    justDragged = true;
    setTimeout(() => { justDragged = false; });
    for (const letter of ["x", "y"]) {
      const pair = [from[letter], to[letter]].sort((a, b) => (letter === "x" ? a - b : b - a)).map((place) => valueAt(panel, letter, place, panel.now[letter]));
      if (Math.abs(from[letter] - to[letter]) > 3) want(panel, letter, { scale: panel.now[letter].scale, from: pair[0], to: pair[1] });
    }
    changed();
  });
  plot.addEventListener("dragstart", (event) => event.preventDefault());
  plot.addEventListener("click", (event) => { if (justDragged) { event.preventDefault(); event.stopImmediatePropagation(); } }, true);
  const want = (panel, letter, limits) => { for (const other of panels) if (other.moves && other[letter].shared === panel[letter].shared) other.wanted[letter] = limits; };
  function zoom(times) {
    read();
    for (const panel of panels.filter((one) => one.moves)) for (const letter of ["x", "y"]) {
      if (panel[letter].shared !== panel.number) continue;
      const { scale, from, to } = panel.now[letter], { to: log, back } = scales[scale], middle = (log(from) + log(to)) / 2, half = (log(to) - log(from)) / 2 / times;
      want(panel, letter, { scale, from: back(middle - half), to: back(middle + half) });
    }
    changed();
  }
  function pan(event) {
    const by = { ArrowLeft: ["x", -1], ArrowRight: ["x", 1], ArrowUp: ["y", 1], ArrowDown: ["y", -1] }[event.key];
    if (!by) return;
    event.preventDefault();
    read();
    const [letter, way] = by;
    for (const panel of panels.filter((one) => one.moves && one[letter].shared === one.number)) {
      const { scale, from, to } = panel.now[letter], { to: log, back } = scales[scale], step = (way * (log(to) - log(from))) / 8;
      want(panel, letter, { scale, from: back(log(from) + step), to: back(log(to) + step) });
    }
    changed();
  }

  // The tools below the figure, and its legend.
  const tools = document.createElement("span"), logs = {};
  tools.className = "tools";
  tools.setAttribute("role", "group");
  tools.setAttribute("aria-label", `View of ${plot.getAttribute("aria-label")}`);
  function tool(text, label, act) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = text;
    button.title = label;
    button.setAttribute("aria-label", label);
    button.addEventListener("click", act);
    tools.append(button);
    return button;
  }
  function positive(letter) { // a logarithm shows it all
    return panels.some((panel) => panel.moves) && panels.filter((panel) => panel.moves).every((panel) => {
      const [low] = reach(panel, letter, false, scales.linear);
      return low > 0 && !readAxis(panel, letter).words;
    });
  }
  function makeTools() {
    if (panels.some((panel) => panel.moves && panel.group)) {
      for (const letter of ["x", "y"]) {
        logs[letter] = tool(`log ${letter}`, `Logarithmic ${letter} axis`, () => {
          read();
          setScale(letter, logs[letter].getAttribute("aria-pressed") === "true" ? "linear" : "log");
          changed();
        });
        logs[letter].setAttribute("aria-pressed", String(panels.find((panel) => panel.moves)[letter].scale === "log"));
      }
      for (const [text, label, times] of [["+", "Zoom in (arrow keys move the view)", 1.6], ["\u2212", "Zoom out (arrow keys move the view)", 1 / 1.6]]) tool(text, label, () => zoom(times)).addEventListener("keydown", pan);
      tool("Reset", "Reset the view of this figure", reset);
    }
    figure.querySelector(".enlarge").before(tools);
    for (const entry of plot.querySelectorAll(".legend [data-variants]")) {
      if (!entry.querySelector("text")) { entry.addEventListener("click", (event) => press(event, entry)); continue; }
      for (const [name, value] of Object.entries({ role: "button", tabindex: "0", "aria-pressed": "true" })) entry.setAttribute(name, value);
      entry.addEventListener("click", (event) => press(event, entry));
      entry.addEventListener("keydown", (event) => ["Enter", " "].includes(event.key) && press(event, entry));
    }
  }
  function press(event, entry) {
    event.preventDefault();
    event.stopPropagation(); // a click beside it enlarges the figure
    const numbers = owners(entry), on = numbers.every((number) => off.has(number));
    for (const number of numbers) if (on) off.delete(number); else off.add(number);
    changed();
  }
  function setScale(letter, scale) {
    for (const panel of panels) if (panel.moves) panel.wanted[letter] = scale === panel[letter].scale ? null : { scale };
    logs[letter]?.setAttribute("aria-pressed", String(scale === "log"));
  }
  function reset() {
    read();
    off.clear();
    for (const letter of ["x", "y"]) setScale(letter, panels.find((panel) => panel.moves)?.[letter].scale);
    changed();
  }
  function changed() {
    read();
    show();
    onChange();
  }
  makeTools();
  requestIdleCallback?.(() => { // what needs the shapes is not needed at once
    if (!logs.x) return;
    read();
    for (const letter of ["x", "y"]) if (!positive(letter)) logs[letter].disabled = panels.find((panel) => panel.moves)[letter].scale !== "log";
  });

  // The view as words of the page's address: scales that were changed, zoom, and what the legend has switched off.
  function view() {
    const parts = [];
    if (!ready) return "";
    for (const panel of panels) for (const letter of ["x", "y"]) {
      const wanted = panel.wanted[letter];
      if (!wanted || panel[letter].shared !== panel.number) continue;
      parts.push(wanted.from === undefined ? `${letter}${panel.number}:${wanted.scale}` : `${letter}${panel.number}:${wanted.scale}:${short(wanted.from)}:${short(wanted.to)}`);
    }
    if (off.size) parts.push(`off:${[...off].sort((a, b) => a - b).join(":")}`);
    return parts.join(" ");
  }
  const short = (value) => String(Number(value.toPrecision(5)));
  function setView(text) {
    if (!text && !ready) return;
    read();
    off.clear();
    for (const panel of panels) panel.wanted = { x: null, y: null };
    for (const part of text.split(" ").filter(Boolean)) {
      const [name, ...values] = part.split(":");
      if (name === "off") for (const value of values) off.add(Number(value));
      const panel = panels[Number(name.slice(1))], letter = name[0];
      if (!panel?.moves || !(letter in panel.wanted) || !(values[0] in scales)) continue;
      const numbers = values.slice(1).map(Number);
      want(panel, letter, numbers.length === 2 && numbers.every(Number.isFinite) ? { scale: values[0], from: numbers[0], to: numbers[1] } : { scale: values[0] });
    }
    const first = panels.find((panel) => panel.moves);
    for (const letter of ["x", "y"]) if (first) logs[letter]?.setAttribute("aria-pressed", String((first.wanted[letter]?.scale ?? first[letter].scale) === "log"));
  }
  return { name: figure.id.replace("figure-", ""), show, view, setView };
}
