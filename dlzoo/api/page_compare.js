"use strict";
// The table sorts and filters; the curves and pictures follow the runs that it shows. Text of runs is only ever set as
// text, never as HTML.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const table = document.getElementById("runs");
  const rows = [...table.tBodies[0].rows];
  const runOf = (element) => Number(element.dataset.run);
  const make = (name, parent, text) => {
    const element = document.createElement(name);
    if (text !== undefined) element.textContent = text;
    return parent.appendChild(element);
  };

  // ---------------------------------------------------------------- sorting
  const valueOf = (row, column) => {
    const cell = row.cells[column];
    return "value" in cell.dataset ? Number(cell.dataset.value) : cell.textContent;
  };
  const isMissing = (value) => value === "" || value === "-" || Number.isNaN(value);
  const compare = (a, b) =>
    typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const text = head.textContent;
    head.textContent = "";
    const button = make("button", head, text);
    button.type = "button";
    button.addEventListener("click", () => {
      const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
      const order = [...rows].sort((a, b) => {
        const [x, y] = [valueOf(a, column), valueOf(b, column)];
        if (isMissing(x) || isMissing(y)) return isMissing(x) - isMissing(y); // at the end, in either direction
        return sign * compare(x, y);
      });
      table.tBodies[0].append(...order);
    });
  });

  // ---------------------------------------------------------------- filtering
  const shown = new Set(rows.map(runOf));
  const filters = new Map();
  const controls = document.getElementById("filters");
  document.getElementById("filter").open = innerWidth > 700;
  for (const [key, values] of Object.entries(data.options)) {
    const choices = [...new Set(values)];
    if (choices.length < 2 || choices.length > 30) continue;
    const label = make("label", controls, key + " ");
    const select = make("select", label);
    make("option", select, "all").value = "";
    choices.sort(compare).forEach((text, i) => { make("option", select, text).value = String(i + 1); });
    select.addEventListener("change", () => {
      if (select.value) filters.set(key, choices[Number(select.value) - 1]);
      else filters.delete(key);
      update();
    });
  }
  const update = () => {
    shown.clear();
    for (const row of rows) {
      const run = runOf(row);
      const fits = [...filters].every(([key, text]) => data.options[key][run] === text);
      row.hidden = !fits;
      if (fits && row.querySelector("input").checked) shown.add(run);
    }
    for (const figure of document.querySelectorAll(".side figure")) figure.hidden = !shown.has(runOf(figure));
    const visible = rows.filter((row) => !row.hidden).length;
    document.getElementById("count").textContent = `${visible} of ${rows.length} runs`;
    draw();
  };
  for (const row of rows) row.querySelector("input").addEventListener("change", update);

  // ---------------------------------------------------------------- curves
  const chart = document.getElementById("chart");
  const metric = document.getElementById("metric");
  const log = document.getElementById("log");
  const tip = document.getElementById("tip");
  for (const name of Object.keys(data.curves)) make("option", metric, name);
  const svg = (name, parent, attributes) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return parent.appendChild(element);
  };
  const nice = (low, high, most) => {
    const rough = (high - low) / most;
    const base = 10 ** Math.floor(Math.log10(rough));
    const step = base * ([1, 2, 5].find((factor) => factor * base >= rough) || 10);
    const first = Math.ceil(low / step);
    const count = Math.floor(high / step + 1e-9) - first + 1;
    if (!(count > 0 && count <= 100)) return []; // numbers too large to differ by a step
    return Array.from({ length: count }, (_, i) => (first + i) * step);
  };
  const short = (value) => {
    if (value === 0) return "0";
    return Math.abs(value) < 1e-3 || Math.abs(value) >= 1e5 ? value.toExponential(1) : String(Number(value.toPrecision(4)));
  };
  let place = null; // of the last drawing, for the tip
  const draw = () => {
    for (const old of chart.querySelectorAll("svg")) old.remove();
    tip.hidden = true;
    place = null;
    const curves = (data.curves[metric.value] || []).filter((curve) => shown.has(curve.run));
    const usable = (y) => Number.isFinite(y) && (!log.checked || y > 0);
    const points = curves.flatMap((curve) => curve.points.filter(([, y]) => usable(y)));
    if (!points.length) return;
    const width = Math.max(280, chart.clientWidth);
    const height = Math.min(420, Math.max(240, width * 0.5));
    const [left, right, top, bottom] = [56, 10, 10, 34];
    const f = log.checked ? Math.log10 : (y) => y;
    const xs = points.map(([x]) => x), ys = points.map(([, y]) => f(y));
    const range = (values) => values.reduce(([a, b], v) => [Math.min(a, v), Math.max(b, v)], [Infinity, -Infinity]);
    let [x0, x1] = range(xs), [y0, y1] = range(ys);
    if (x0 === x1) [x0, x1] = [x0 - 1, x1 + 1];
    if (y0 === y1) [y0, y1] = [y0 - 0.5, y1 + 0.5];
    const pad = (y1 - y0) * 0.04;
    [y0, y1] = [y0 - pad, y1 + pad];
    const X = (x) => left + ((x - x0) / (x1 - x0)) * (width - left - right);
    const Y = (y) => height - bottom - ((f(y) - y0) / (y1 - y0)) * (height - top - bottom);
    const root = svg("svg", chart, { viewBox: `0 0 ${width} ${height}`, height, role: "img" });
    root.setAttribute("aria-label", `${metric.value} by epoch`);
    let ticks = nice(y0, y1, 5);
    if (log.checked && ticks.filter(Number.isInteger).length >= 2) ticks = ticks.filter(Number.isInteger);
    for (const tick of ticks) {
      const y = height - bottom - ((tick - y0) / (y1 - y0)) * (height - top - bottom);
      svg("line", root, { class: "grid", x1: left, x2: width - right, y1: y, y2: y });
      svg("text", root, { x: left - 6, y: y + 4, "text-anchor": "end" }).textContent = short(log.checked ? 10 ** tick : tick);
    }
    for (const tick of nice(x0, x1, Math.min(8, width / 70)).filter(Number.isInteger)) {
      svg("text", root, { x: X(tick), y: height - bottom + 18, "text-anchor": "middle" }).textContent = tick;
    }
    svg("text", root, { x: width - right, y: height - 3, "text-anchor": "end" }).textContent = "epoch";
    for (const curve of curves) {
      let path = "", pen = "M";
      for (const [x, y] of curve.points) {
        if (!usable(y)) { pen = "M"; continue; }
        path += `${pen}${X(x).toFixed(1)} ${Y(y).toFixed(1)}`;
        pen = "L";
      }
      const { colour, dash } = data.runs[curve.run];
      const style = { stroke: colour, fill: "none", "stroke-dasharray": dash, "stroke-linejoin": "round" };
      const isTraining = curve.split === "train";
      svg("path", root, { d: path, ...style, "stroke-width": isTraining ? 1 : 2.2, opacity: isTraining ? 0.5 : 1 });
      const kept = curve.points.filter(([, y]) => usable(y));
      if (kept.length === 1) svg("circle", root, { cx: X(kept[0][0]), cy: Y(kept[0][1]), r: 3, fill: colour });
    }
    const cursor = svg("line", root, { class: "grid", x1: 0, x2: 0, y1: top, y2: height - bottom, visibility: "hidden" });
    place = { width, left, right, x0, x1, X, curves, cursor };
  };
  const point = (event) => {
    if (!place) return;
    const box = chart.getBoundingClientRect();
    const at = ((event.clientX - box.left) / box.width) * place.width;
    const wanted = place.x0 + ((at - place.left) / (place.width - place.left - place.right)) * (place.x1 - place.x0);
    const epochs = [...new Set(place.curves.flatMap((curve) => curve.points.map(([x]) => x)))];
    const epoch = epochs.reduce((best, x) => (Math.abs(x - wanted) < Math.abs(best - wanted) ? x : best), epochs[0]);
    const found = place.curves
      .map((curve) => [curve, curve.points.find(([x]) => x === epoch)])
      .filter(([curve, pair]) => pair && curve.split !== "train" && pair[1] !== null)
      .sort((a, b) => b[1][1] - a[1][1])
      .slice(0, 12);
    tip.textContent = "";
    make("div", tip, `epoch ${epoch}`);
    for (const [curve, pair] of found) {
      const line = make("div", tip);
      const key = make("span", line);
      key.className = "key";
      key.style.color = data.runs[curve.run].colour;
      make("span", line, `${data.runs[curve.run].name}  ${short(pair[1])}`);
    }
    tip.hidden = false;
    const x = (place.X(epoch) / place.width) * box.width;
    tip.style.top = "12px";
    tip.style.left = `${x + 12 + tip.offsetWidth > box.width ? Math.max(0, x - 12 - tip.offsetWidth) : x + 12}px`;
    place.cursor.setAttribute("x1", place.X(epoch));
    place.cursor.setAttribute("x2", place.X(epoch));
    place.cursor.setAttribute("visibility", "visible");
  };
  chart.addEventListener("pointermove", point);
  chart.addEventListener("pointerdown", point);
  chart.addEventListener("pointerleave", () => { tip.hidden = true; if (place) place.cursor.setAttribute("visibility", "hidden"); });
  metric.addEventListener("change", draw);
  log.addEventListener("change", draw);
  let lastWidth = 0;
  new ResizeObserver(() => { if (chart.clientWidth !== lastWidth) { lastWidth = chart.clientWidth; draw(); } }).observe(chart);
  update();
})();
