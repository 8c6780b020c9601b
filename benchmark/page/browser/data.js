// The data of one protocol, and what follows from them: cells, scores of subjects, both estimates of a pair.
"use strict";

mrsr.Protocol = class {
  /** `name`: of its folder below data/. */
  static async load(name) {
    return new this(name, await mrsr.load(`${name}/overview`));
  }

  constructor(name, overview) {
    this.name = name;
    this.overview = overview;
    this.cells = new Map();
  }

  get primary() {
    return this.overview.metrics[0];
  }

  rowText(row) {
    return this.overview.rows[row].join(" ").replace(/ x(?=\d)/, " ×");
  }

  metric(name) {
    return this.overview.metrics.find((metric) => metric.name === name) ?? this.primary;
  }

  metricIndex(metric) {
    return this.overview.metrics.indexOf(metric);
  }

  /** The records behind a figure, by seed. */
  cellsOf(row, label) {
    return this.overview.cells
      .filter((cell) => cell.row === row && cell.label === label)
      .sort((a, b) => a.seed - b.seed);
  }

  /** A cell's files: record, scores and curve, read. */
  async cell(entry) {
    if (!this.cells.has(entry.file)) {
      const { files } = await mrsr.load(`${this.name}/${entry.file}`);
      const texts = new Map(files);
      this.cells.set(entry.file, {
        ...entry,
        texts,
        record: JSON.parse(texts.get("record.json")),
        scores: readScores(texts.get("scores.csv")),
        curve: texts.has("train.csv") ? readCurve(texts.get("train.csv")) : null,
      });
    }
    return this.cells.get(entry.file);
  }

  cellsWith(row, label) {
    return Promise.all(this.cellsOf(row, label).map((entry) => this.cell(entry)));
  }

  /** Subject → mean over seeds of a metric. */
  async subjectMeans(row, label, metric) {
    const cells = await this.cellsWith(row, label);
    const subjects = cells.length ? [...cells[0].scores.get(metric.name).keys()] : [];
    const mean = (subject) =>
      cells.reduce((sum, cell) => sum + cell.scores.get(metric.name).get(subject), 0) / cells.length;
    return new Map(subjects.map((subject) => [subject, mean(subject)]));
  }

  pairs() {
    return mrsr.load(`${this.name}/pairs`);
  }

  /** Where a pair stands in `pairs`, and the sign by which first − second follows from it. */
  static pairIndex(pairs, first, second) {
    const index = pairs.pairs.findIndex((pair) => pair.includes(first) && pair.includes(second));
    return [index, index >= 0 && pairs.pairs[index][0] === first ? 1 : -1];
  }

  /** Both estimates of first − second in a row; null where one has no figure. */
  async estimate(row, metric, first, second) {
    const pairs = await this.pairs();
    const [index, sign] = mrsr.Protocol.pairIndex(pairs, first, second);
    const found = index < 0 ? null : pairs.estimates[this.metricIndex(metric)][row][index];
    return found && mrsr.signed(found, sign);
  }
};

/** An estimate of a pair, or of the pair the other way round. */
mrsr.signed = (estimate, sign) => {
  if (sign > 0) return estimate;
  const turned = (bounds) => bounds && [0 - mrsr.number(bounds[1]), 0 - mrsr.number(bounds[0])];
  const words = { better: "worse", worse: "better" };
  return {
    ...estimate,
    mean: 0 - mrsr.number(estimate.mean),
    networks: turned(estimate.networks),
    method: turned(estimate.method),
    verdict: words[estimate.verdict] ?? estimate.verdict,
    text: estimate.text?.replace(/^(better|worse)/, (word) => words[word]),
    seeds: estimate.seeds && [...estimate.seeds].reverse(),
  };
};

/** metric → subject → value of a scores.csv. */
function readScores(text) {
  const scores = new Map();
  for (const [subject, metric, value] of mrsr.parseCsv(text).slice(1)) {
    if (!scores.has(metric)) scores.set(metric, new Map());
    scores.get(metric).set(subject, readNumber(value));
  }
  return scores;
}

/** Python's inf and nan too. */
function readNumber(text) {
  return { inf: Infinity, "-inf": -Infinity, nan: NaN }[text] ?? Number(text);
}

/** The points [step, loss or NaN, validation PSNR or NaN] of a train.csv. */
function readCurve(text) {
  const [headings, ...lines] = mrsr.parseCsv(text);
  const places = ["step", "loss", "val_psnr"].map((name) => headings.indexOf(name));
  return lines.map((line) => places.map((place) => (line[place] ? readNumber(line[place]) : NaN)));
}
