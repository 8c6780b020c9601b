// The viewer: two images of one slice behind a divider, in one view.
"use strict";

mrsr.views.viewer = async (protocol, values) => {
  if (!protocol.overview.slices.length) return withoutSlices(protocol);
  const viewer = new Viewer(protocol, values);
  await viewer.show();
  return { title: "Viewer", content: viewer.element, mounted: () => viewer.resize(), leave: () => viewer.leave() };
};

/** Keys of the two sides: the truth's images, and methods by their label. */
const TRUTH = { "t:hr": "HR", "t:lr": "LR" };
const sideName = (side) => TRUTH[side] ?? side.slice(2);

const KEYS = [
  ["F", "flicker between the sides"],
  ["D", "image or error"],
  ["X", "swap the sides"],
  ["+ − 0", "zoom in, out, whole slice"],
  ["⇧ + arrows", "move the view"],
  ["N P", "next, previous subject"],
  [", .", "previous, next slice"],
  ["W B", "worst, best subject of the right side"],
];

class Viewer {
  constructor(protocol, values) {
    this.protocol = protocol;
    const { slices } = protocol.overview;
    const wanted = (entry) => Number(entry.row === Number(values.row)) * 2 + Number(entry.subject === values.subject);
    this.entry = [...slices].sort((a, b) => wanted(b) - wanted(a))[0];
    this.number = Number(values.slice ?? NaN);
    this.sides = [values.a ?? "", values.b ?? ""];
    this.metric = protocol.metric(values.metric);
    this.isError = values.mode === "error";
    this.view = { zoom: 1, x: 0.5, y: 0.5 };
    this.#build();
  }

  #build() {
    const { h } = mrsr;
    this.canvases = [0, 1].map((side) => h("canvas", { slot: ["first", "second"][side], role: "img" }));
    const handle = h("div", { slot: "handle", class: "handle" }, h("span", { "aria-hidden": "true" }, "‹ ›"));
    this.handle = handle;
    this.slider = h("img-comparison-slider", { handle: "true", value: "50", tabindex: "0", role: "slider", "aria-label": "Divider", "aria-valuemin": "0", "aria-valuemax": "100", "aria-valuenow": "50" }, this.canvases, handle);
    this.slider.addEventListener("slide", () => this.#divided());
    this.letters = ["top", "bottom", "left", "right"].map((edge) => h("span", { class: `edge ${edge}`, "aria-hidden": "true" }));
    this.labels = [h("div", { class: "side" }), h("div", { class: "side" })];
    this.bar = h("div", { class: "bar" });
    this.panel = h("div", { class: "panel" });
    this.stage = h("div", { class: "stage" }, this.slider, this.letters);
    const keys = h("details", { class: "keys" }, h("summary", {}, "Keys"), h("dl", {}, KEYS.map(([key, text]) => [h("dt", {}, key.split(" ").map((one) => h("kbd", {}, one))), h("dd", {}, text)])));
    const zoom = h("div", { class: "choice", role: "group", "aria-label": "Zoom" }, mrsr.button("−", () => this.zoom(1 / 1.5), { "aria-label": "Zoom out" }), mrsr.button("Whole slice", () => this.reset()), mrsr.button("+", () => this.zoom(1.5), { "aria-label": "Zoom in" }));
    const flicker = mrsr.button("Flicker", () => this.flicker(), { title: "Key F" });
    this.element = h("div", { class: "viewer" }, h("div", { class: "stage-box" }, h("div", { class: "sides", "aria-live": "polite" }, this.labels), this.stage, h("div", { class: "under" }, zoom, flicker, this.bar, keys)), this.panel);
    this.#listen();
  }

  #listen() {
    this.slider.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoom(event.deltaY < 0 ? 1.2 : 1 / 1.2, this.#shareAt(event));
    }, { passive: false });
    this.slider.addEventListener("pointerdown", (event) => {
      const box = this.handle.getBoundingClientRect();
      const onHandle = event.clientX >= box.left && event.clientX <= box.right && event.clientY >= box.top && event.clientY <= box.bottom;
      if (onHandle || event.button !== 0) return;
      this.slider.setPointerCapture(event.pointerId);
      this.drag = { x: event.clientX, y: event.clientY };
    });
    this.slider.addEventListener("pointermove", (event) => {
      if (!this.drag) return;
      const unit = devicePixelRatio / (mrsr.fit(this.canvases[0], this.size) * this.view.zoom);
      this.view.x -= ((event.clientX - this.drag.x) * unit) / this.size[1];
      this.view.y -= ((event.clientY - this.drag.y) * unit) / this.size[0];
      this.drag = { x: event.clientX, y: event.clientY };
      this.#draw();
    });
    for (const end of ["pointerup", "pointercancel"]) this.slider.addEventListener(end, () => (this.drag = null));
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(this.stage);
    this.onKey = (event) => this.#key(event);
    document.addEventListener("keydown", this.onKey, true);
  }

  leave() {
    this.observer.disconnect();
    document.removeEventListener("keydown", this.onKey, true);
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches?.("input, select, textarea")) return;
    const act = event.shiftKey && /^Arrow/.test(event.key) ? () => this.pan(event.key) : {
      f: () => this.flicker(),
      d: () => this.change({ isError: !this.isError }),
      x: () => this.change({ sides: [...this.sides].reverse() }),
      "+": () => this.zoom(1.5),
      "-": () => this.zoom(1 / 1.5),
      0: () => this.reset(),
      n: () => this.step(1),
      p: () => this.step(-1),
      ",": () => this.stepSlice(-1),
      ".": () => this.stepSlice(1),
      w: () => this.extreme(false),
      b: () => this.extreme(true),
    }[event.key.toLowerCase()];
    if (act) {
      event.preventDefault();
      event.stopPropagation();
      act();
    }
  }

  /** The subjects of the row. */
  get entries() {
    return this.protocol.overview.slices.filter((entry) => entry.row === this.entry.row);
  }

  change(changes) {
    Object.assign(this, changes);
    return this.show();
  }

  step(by) {
    const at = this.entries.indexOf(this.entry) + by;
    return this.change({ entry: this.entries[(at + this.entries.length) % this.entries.length] });
  }

  stepSlice(by) {
    const at = this.entry.numbers.indexOf(this.number) + by;
    if (this.entry.numbers[at] !== undefined) this.change({ number: this.entry.numbers[at] });
  }

  /** Show one side alone, then the other one. */
  flicker() {
    this.slider.value = this.slider.value > 50 ? 0 : 100;
    this.#divided();
  }

  reset() {
    this.view = { zoom: 1, x: 0.5, y: 0.5 };
    this.#draw();
  }

  /** Zoom about a point of the image, given as shares; by default the middle of the view. */
  zoom(factor, [x, y] = [this.view.x, this.view.y]) {
    const zoom = Math.min(40, Math.max(1, this.view.zoom * factor));
    const by = this.view.zoom / zoom;
    this.view = { zoom, x: x + (this.view.x - x) * by, y: y + (this.view.y - y) * by };
    this.#draw();
  }

  /** Move the view by a tenth of what it shows. */
  pan(key) {
    const [x, y] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[key];
    this.view.x += x / (10 * this.view.zoom);
    this.view.y += y / (10 * this.view.zoom);
    this.#draw();
  }

  #shareAt(event) {
    const box = this.stage.getBoundingClientRect();
    const unit = devicePixelRatio / (mrsr.fit(this.canvases[0], this.size) * this.view.zoom);
    return [this.view.x + ((event.clientX - box.left - box.width / 2) * unit) / this.size[1], this.view.y + ((event.clientY - box.top - box.height / 2) * unit) / this.size[0]];
  }

  /** Go to the worst or best of the subjects with slices, by the method on the right, else that on the left. */
  async extreme(best) {
    const side = [...this.sides].reverse().find((name) => !TRUTH[name]);
    if (!side) return;
    const ranked = await this.#ranked(side);
    if (ranked.length) await this.change({ entry: (best ? ranked[0] : ranked.at(-1)).entry });
  }

  /** The subjects with slices and their scores, the best first. */
  async #ranked(side) {
    const scored = await Promise.all(this.entries.map(async (entry) => ({ entry, score: await this.#score(side, entry) })));
    const sign = this.metric.higher ? -1 : 1;
    return scored.filter(({ score }) => !Number.isNaN(score)).sort((a, b) => sign * (a.score - b.score));
  }

  /** The score of a subject's whole volume, of the seed that made the slices. */
  async #score(side, entry) {
    if (TRUTH[side]) return NaN;
    const label = sideName(side);
    const cell = this.protocol.cellsOf(entry.row, label).find((one) => one.seed === this.#seed(label));
    return cell ? ((await this.protocol.cell(cell)).scores.get(this.metric.name)?.get(entry.subject) ?? NaN) : NaN;
  }

  #seed(label) {
    return this.slice.predictions[this.protocol.overview.labels.indexOf(label)]?.seed;
  }

  async show() {
    const { protocol, entry } = this;
    const subject = await mrsr.load(`${protocol.name}/${entry.file}`);
    if (entry !== this.entry) return; // another one was chosen meanwhile
    if (!entry.numbers.includes(this.number)) this.number = entry.numbers[Math.floor(entry.numbers.length / 2)];
    const isOther = this.subject !== subject;
    this.subject = subject;
    this.slice = subject.slices.find((slice) => slice.number === this.number);
    this.known = protocol.overview.labels.filter((_, at) => this.slice.predictions[at]);
    this.#chooseSides();
    if (isOther) this.#freshLook();
    const [, down, across] = subject.spacing;
    this.size = [this.slice.hr.rows * (down / Math.min(down, across)), this.slice.hr.columns * (across / Math.min(down, across))];
    this.images = this.sides.map((side) => this.#image(side));
    mrsr.remember(protocol.name, "viewer", { row: entry.row, subject: entry.subject, slice: this.number, a: this.sides[0], b: this.sides[1], mode: this.isError ? "error" : "", metric: this.metric === protocol.primary ? "" : this.metric.name });
    await this.#describe();
    this.#paint();
  }

  /** Sides that this row has: by default the baseline, and the best of the others. */
  #chooseSides() {
    const { overview } = this.protocol;
    const figures = overview.figures[0][this.entry.row];
    const value = (label) => mrsr.number(figures[overview.columns.findIndex((column) => column.name === label && !column.source)].value);
    const sign = this.protocol.primary.higher ? -1 : 1;
    const ranked = [...this.known].sort((a, b) => sign * (value(a) - value(b)));
    const left = this.known.includes(overview.baseline) ? overview.baseline : this.known[0];
    const right = ranked.find((label) => label !== left);
    const usual = [left ? `m:${left}` : "t:lr", right ? `m:${right}` : "t:hr"];
    this.sides = this.sides.map((side, at) => (TRUTH[side] || this.known.includes(side.slice(2)) ? side : usual[at]));
  }

  #freshLook() {
    const [low, high] = this.subject.display.map(mrsr.number);
    Object.assign(this, { low, high, scale: (high - low) / 10 });
  }

  #image(side) {
    const { hr, lr, predictions } = this.slice;
    const stored = { "t:hr": hr, "t:lr": lr }[side] ?? predictions[this.protocol.overview.labels.indexOf(sideName(side))];
    const image = mrsr.decoded(stored);
    return this.isError && !TRUTH[side] ? { image: mrsr.difference(image, mrsr.decoded(hr)), isError: true } : { image, isError: false };
  }

  #paint() {
    this.painted = this.images.map(({ image, isError }) => mrsr.painted(image, isError ? { scale: this.scale } : { window: [this.low, this.high] }));
    this.#draw();
  }

  #draw() {
    if (!this.painted || !this.canvases[0].width) return;
    for (const axis of ["x", "y"]) this.view[axis] = Math.min(1, Math.max(0, this.view[axis]));
    this.canvases.forEach((canvas, side) => mrsr.draw(canvas, this.painted[side], this.size, this.view));
  }

  resize() {
    const [width, height] = [this.stage.clientWidth, this.stage.clientHeight].map((side) => Math.round(side * devicePixelRatio));
    if (!width || !height) return;
    for (const canvas of this.canvases) [canvas.width, canvas.height] = [width, height];
    this.#draw();
  }

  #divided() {
    this.slider.setAttribute("aria-valuenow", String(Math.round(this.slider.value)));
  }

  async #describe() {
    const { h } = mrsr;
    const scores = await Promise.all(this.sides.map((side) => this.#score(side, this.entry)));
    this.sides.forEach((side, at) => {
      const name = sideName(side);
      const score = Number.isNaN(scores[at]) ? "" : `${this.metric.name} ${mrsr.fixed(scores[at], this.metric.decimals)} ${this.metric.unit}`.trim();
      const seed = TRUTH[side] ? (side === "t:lr" ? "nearest neighbour" : "the truth") : `seed ${this.#seed(name)}`;
      const kind = this.images[at].isError ? "error: prediction − HR" : "";
      this.labels[at].replaceChildren(h("strong", {}, name), h("span", {}, [score, seed, kind].filter(Boolean).join(" · ")));
      this.canvases[at].setAttribute("aria-label", `${name}${kind && `, ${kind}`}: ${this.protocol.rowText(this.entry.row)}, ${this.entry.subject}, slice ${this.number}`);
    });
    this.letters.forEach((element, at) => (element.textContent = this.subject.edges[at]));
    this.#fillBar();
    await this.#fillPanel();
  }

  #fillBar() {
    const { h } = mrsr;
    const text = (value) => mrsr.short(value);
    const shown = this.images.some(({ isError }) => isError);
    this.bar.replaceChildren(...(shown ? [h("span", {}, `−${text(this.scale)}`), mrsr.colourBar(160, 10), h("span", {}, `+${text(this.scale)}`)] : []));
  }

  async #fillPanel() {
    const { h } = mrsr;
    const { overview } = this.protocol;
    const rows = [...new Set(overview.slices.map((entry) => entry.row))];
    const sides = [...Object.entries(TRUTH), ...this.known.map((label) => [`m:${label}`, label])];
    const side = [...this.sides].reverse().find((name) => !TRUTH[name]);
    const ranked = side ? await this.#ranked(side) : [];
    const score = (entry) => ranked.find((one) => one.entry === entry)?.score ?? NaN;
    const subjectText = (entry) => (Number.isNaN(score(entry)) ? entry.subject : `${entry.subject} · ${mrsr.fixed(score(entry), this.metric.decimals)}`);
    const choose = (at) => (name) => this.change({ sides: this.sides.map((old, place) => (place === at ? name : old)) });
    const hint = `of the ${mrsr.counted(this.entries.length, "subject")} with slices, by ${this.metric.name} of ${side ? sideName(side) : "no method"}`;
    const jump = (name, best) => mrsr.button(name, () => this.extreme(best), { disabled: !ranked.length, title: `${name} ${hint}` });
    const fields = [
      mrsr.select("Left", sides, this.sides[0], choose(0)),
      mrsr.select("Right", sides, this.sides[1], choose(1)),
      rows.length > 1 && mrsr.select("Row", rows.map((row) => [row, this.protocol.rowText(row)]), this.entry.row, (row) => this.change({ entry: this.#sameSubject(Number(row)) })),
      mrsr.select("Subject", this.entries.map((entry) => [entry.file, subjectText(entry)]), this.entry.file, (file) => this.change({ entry: this.entries.find((entry) => entry.file === file) })),
      h("div", { class: "choice" }, jump("Worst subject", false), jump("Best subject", true)),
      this.entry.numbers.length > 1 && mrsr.select("Slice", this.entry.numbers.map((number) => [number, String(number)]), this.number, (number) => this.change({ number: Number(number) })),
      mrsr.select("Metric", overview.metrics.map(({ name, text }) => [name, text]), this.metric.name, (name) => this.change({ metric: this.protocol.metric(name) })),
      mrsr.choice("Show", [["image", "Image"], ["error", "Error"]], this.isError ? "error" : "image", (mode) => this.change({ isError: mode === "error" })),
      this.#range("Black at", "low"),
      this.#range("White at", "high"),
      this.isError && this.#range("Error scale ±", "scale"),
      mrsr.button("Reset window", () => {
        this.#freshLook();
        this.show();
      }),
      mrsr.exports(`${overview.folder}-${this.protocol.rowText(this.entry.row)}`, () => this.lines),
    ];
    this.lines = await this.#lines();
    const controls = () => [...this.panel.querySelectorAll("select, input, button")];
    const active = controls().indexOf(document.activeElement);
    this.panel.replaceChildren(...fields.filter(Boolean));
    if (active >= 0) controls()[active]?.focus();
  }

  #sameSubject(row) {
    const entries = this.protocol.overview.slices.filter((entry) => entry.row === row);
    return entries.find((entry) => entry.subject === this.entry.subject) ?? entries[0];
  }

  /** A slider for a bound of the window, or for the scale of errors, in intensity units. */
  #range(label, name) {
    const { h } = mrsr;
    const [low, high] = this.subject.display.map(mrsr.number);
    const width = high - low || 1;
    const bounds = name === "scale" ? [width / 100, width / 2] : [low - width / 10, high + width / 10];
    const output = h("output", {}, mrsr.short(this[name]));
    const move = (event) => {
      this[name] = Number(event.target.value);
      output.textContent = mrsr.short(this[name]);
      this.#fillBar();
      this.#paint();
    };
    const input = h("input", { type: "range", min: bounds[0], max: bounds[1], step: width / 500, value: this[name], on: { input: move } });
    return h("label", { class: "field range" }, h("span", {}, h("span", {}, label), output), input);
  }

  /** The scores of the subjects with slices, on both sides. */
  async #lines() {
    const names = this.sides.map(sideName);
    const headings = ["subject", "metric", ...names.map((name, at) => (names[0] === names[1] ? `${name} (${["left", "right"][at]})` : name))];
    const lines = this.entries.map(async (entry) => [entry.subject, this.metric.name, ...(await Promise.all(this.sides.map((side) => this.#score(side, entry)))).map((score) => (Number.isNaN(score) ? "" : score))]);
    return [headings, ...(await Promise.all(lines))];
  }
}

function withoutSlices(protocol) {
  const { h } = mrsr;
  const { note, columns } = protocol.overview.withoutSlices;
  const reasons = columns.flatMap((absent, row) => absent.map(([label, why]) => `${label} ${protocol.rowText(row)}: ${why}`));
  const list = reasons.length > 0 && h("details", {}, h("summary", {}, "Column by column"), h("ul", {}, reasons.map((reason) => h("li", {}, reason))));
  return { title: "Viewer", content: h("div", { class: "empty" }, h("p", {}, note || "No cell of this protocol keeps slices. bench score makes them from the weights, without training."), list || null) };
}
