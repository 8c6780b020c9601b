// The viewer: two images of one slice behind a divider, in one view.
"use strict";

mrsr.views.viewer = async (protocol, values) => {
  if (!protocol.overview.slices.length) return withoutSlices(protocol);
  const viewer = new Viewer(protocol, values);
  await viewer.show();
  return { title: "Viewer", content: viewer.element, enter: () => viewer.enter(), leave: () => viewer.leave() };
};

/** Keys of the two sides: the truth's images, and methods by their label. */
mrsr.TRUTH = { "t:hr": "HR", "t:lr": "LR" };
mrsr.sideName = (side) => mrsr.TRUTH[side] ?? side.slice(2);

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
    this.stage = new mrsr.Stage();
    this.#build();
  }

  #build() {
    const { h } = mrsr;
    const { stage } = this;
    this.labels = [h("div", { class: "side" }), h("div", { class: "side" })];
    this.bar = h("div", { class: "bar" });
    this.panel = h("div", { class: "panel" });
    const keys = h(
      "details",
      { class: "keys" },
      h("summary", {}, "Keys"),
      h(
        "dl",
        {},
        KEYS.map(([key, text]) => [
          h(
            "dt",
            {},
            key.split(" ").map((name) => h("kbd", {}, name)),
          ),
          h("dd", {}, text),
        ]),
      ),
    );
    const zoom = h(
      "div",
      { class: "choice", role: "group", "aria-label": "Zoom" },
      mrsr.button("−", () => stage.zoom(1 / 1.5), { "aria-label": "Zoom out" }),
      mrsr.button("Whole slice", () => stage.reset()),
      mrsr.button("+", () => stage.zoom(1.5), { "aria-label": "Zoom in" }),
    );
    const flicker = mrsr.button("Flicker", () => stage.flicker(), { title: "Key F" });
    const sides = h("div", { class: "sides", "aria-live": "polite" }, this.labels);
    this.element = h(
      "div",
      { class: "viewer" },
      h(
        "div",
        { class: "stage-box" },
        sides,
        stage.element,
        h("div", { class: "under" }, zoom, flicker, this.bar, keys),
      ),
      this.panel,
    );
  }

  /** The element is on the page now. */
  enter() {
    this.onKey = (event) => this.#key(event);
    document.addEventListener("keydown", this.onKey, true);
    this.stage.resize();
  }

  leave() {
    this.stage.leave();
    document.removeEventListener("keydown", this.onKey, true);
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches?.("input, select, textarea")) return;
    const act =
      event.shiftKey && /^Arrow/.test(event.key)
        ? () => this.stage.pan(event.key)
        : {
            f: () => this.stage.flicker(),
            d: () => this.change({ isError: !this.isError }),
            x: () => this.change({ sides: [...this.sides].reverse() }),
            "+": () => this.stage.zoom(1.5),
            "-": () => this.stage.zoom(1 / 1.5),
            0: () => this.stage.reset(),
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

  /** Go to the worst or best of the subjects with slices. */
  async extreme(best) {
    const ranked = await this.ranked();
    if (ranked.length) await this.change({ entry: (best ? ranked[0] : ranked.at(-1)).entry });
  }

  /** The method by which subjects are ranked: that on the right, else that on the left; undefined for two truths. */
  get ranking() {
    return [...this.sides].reverse().find((side) => !mrsr.TRUTH[side]);
  }

  /** The subjects with slices and their scores by that method, the best first. */
  async ranked() {
    const side = this.ranking;
    if (!side) return [];
    const scored = await Promise.all(
      this.entries.map(async (entry) => ({ entry, score: await this.#score(side, entry) })),
    );
    const sign = this.metric.higher ? -1 : 1;
    return scored.filter(({ score }) => !Number.isNaN(score)).sort((a, b) => sign * (a.score - b.score));
  }

  /** The score of a subject's whole volume, of the seed that made the slices. */
  async #score(side, entry) {
    if (mrsr.TRUTH[side]) return NaN;
    const label = mrsr.sideName(side);
    const cell = this.protocol.cellsOf(entry.row, label).find(({ seed }) => seed === this.#seed(label));
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
    if (isOther) this.freshLook();
    const [, down, across] = subject.spacing;
    this.size = [
      this.slice.hr.rows * (down / Math.min(down, across)),
      this.slice.hr.columns * (across / Math.min(down, across)),
    ];
    this.images = this.sides.map((side) => this.#image(side));
    mrsr.remember(protocol.name, "viewer", {
      row: entry.row,
      subject: entry.subject,
      slice: this.number,
      a: this.sides[0],
      b: this.sides[1],
      mode: this.isError ? "error" : "",
      metric: this.metric === protocol.primary ? "" : this.metric.name,
    });
    await this.#describe();
    this.paint();
  }

  /** Sides that this row has: by default the baseline, and the best of the others. */
  #chooseSides() {
    const { overview } = this.protocol;
    const figures = overview.figures[0][this.entry.row];
    const value = (label) =>
      mrsr.number(figures[overview.columns.findIndex((column) => column.name === label && !column.source)].value);
    const sign = this.protocol.primary.higher ? -1 : 1;
    const ranked = [...this.known].sort((a, b) => sign * (value(a) - value(b)));
    const left = this.known.includes(overview.baseline) ? overview.baseline : this.known[0];
    const right = ranked.find((label) => label !== left);
    const usual = [left ? `m:${left}` : "t:lr", right ? `m:${right}` : "t:hr"];
    this.sides = this.sides.map((side, at) =>
      mrsr.TRUTH[side] || this.known.includes(side.slice(2)) ? side : usual[at],
    );
  }

  freshLook() {
    const [low, high] = this.subject.display.map(mrsr.number);
    Object.assign(this, { low, high, scale: (high - low) / 10 });
  }

  #image(side) {
    const { hr, lr, predictions } = this.slice;
    const stored =
      { "t:hr": hr, "t:lr": lr }[side] ?? predictions[this.protocol.overview.labels.indexOf(mrsr.sideName(side))];
    const image = mrsr.decoded(stored);
    return this.isError && !mrsr.TRUTH[side]
      ? { image: mrsr.difference(image, mrsr.decoded(hr)), isError: true }
      : { image, isError: false };
  }

  paint() {
    const looks = this.images.map(({ isError }) =>
      isError ? { scale: this.scale } : { window: [this.low, this.high] },
    );
    this.stage.show(
      this.images.map(({ image }, side) => mrsr.painted(image, looks[side])),
      this.size,
    );
  }

  async #describe() {
    const { h } = mrsr;
    const scores = await Promise.all(this.sides.map((side) => this.#score(side, this.entry)));
    this.sides.forEach((side, at) => {
      const name = mrsr.sideName(side);
      const score = Number.isNaN(scores[at])
        ? ""
        : `${this.metric.name} ${mrsr.fixed(scores[at], this.metric.decimals)} ${this.metric.unit}`.trim();
      const seed = mrsr.TRUTH[side]
        ? side === "t:lr"
          ? "nearest neighbour"
          : "the truth"
        : `seed ${this.#seed(name)}`;
      const kind = this.images[at].isError ? "error: prediction − HR" : "";
      this.labels[at].replaceChildren(
        h("strong", {}, name),
        h("span", {}, [score, seed, kind].filter(Boolean).join(" · ")),
      );
    });
    const place = `${this.protocol.rowText(this.entry.row)}, ${this.entry.subject}, slice ${this.number}`;
    this.stage.describe(
      this.sides.map((side, at) => `${mrsr.sideName(side)}${this.images[at].isError ? ", error" : ""}: ${place}`),
      this.subject.edges,
    );
    this.fillBar();
    await this.#fillPanel();
  }

  fillBar() {
    const { h } = mrsr;
    const text = (value) => mrsr.short(value);
    const shown = this.images.some(({ isError }) => isError);
    this.bar.replaceChildren(
      ...(shown
        ? [h("span", {}, `−${text(this.scale)}`), mrsr.colourBar(160, 10), h("span", {}, `+${text(this.scale)}`)]
        : []),
    );
  }

  async #fillPanel() {
    this.lines = await this.#lines();
    const fields = await mrsr.viewerFields(this);
    const controls = () => [...this.panel.querySelectorAll("select, input, button")];
    const active = controls().indexOf(document.activeElement);
    this.panel.replaceChildren(...fields.filter(Boolean));
    if (active >= 0) controls()[active]?.focus();
  }

  /** The scores of the subjects with slices, on both sides. */
  async #lines() {
    const names = this.sides.map(mrsr.sideName);
    const headings = [
      "subject",
      "metric",
      ...names.map((name, at) => (names[0] === names[1] ? `${name} (${["left", "right"][at]})` : name)),
    ];
    const lines = this.entries.map(async (entry) => [
      entry.subject,
      this.metric.name,
      ...(await Promise.all(this.sides.map((side) => this.#score(side, entry)))).map((score) =>
        Number.isNaN(score) ? "" : score,
      ),
    ]);
    return [headings, ...(await Promise.all(lines))];
  }
}

function withoutSlices(protocol) {
  const { h } = mrsr;
  const { note, columns } = protocol.overview.withoutSlices;
  const reasons = columns.flatMap((absent, row) =>
    absent.map(([label, why]) => `${label} ${protocol.rowText(row)}: ${why}`),
  );
  const list =
    reasons.length > 0 &&
    h(
      "details",
      {},
      h("summary", {}, "Column by column"),
      h(
        "ul",
        {},
        reasons.map((reason) => h("li", {}, reason)),
      ),
    );
  return {
    title: "Viewer",
    content: h(
      "div",
      { class: "empty" },
      h(
        "p",
        {},
        note || "No cell of this protocol keeps slices. bench score makes them from the weights, without training.",
      ),
      list || null,
    ),
  };
}
