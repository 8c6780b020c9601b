// The table: methods down, rows of the protocol across, one metric at a time.
"use strict";

mrsr.views.table = async (protocol, values) => {
  const { h } = mrsr;
  const { overview } = protocol;
  const state = {
    metric: values.metric ?? protocol.primary.name,
    find: values.find ?? "",
    sort: values.sort ?? "",
    up: values.up ?? "",
    hidden: values.hidden ?? "",
  };
  const metric = () => protocol.metric(state.metric);
  const words = overview.rowHeadings.map((_, at) => [...new Set(overview.rows.map((row) => row[at]))]);
  const hidden = new Set(state.hidden.split(" ").filter(Boolean)); // 0.1: the second word of the first heading
  const body = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Figures" });
  const note = h("p", { class: "quiet", "aria-live": "polite" });

  function change(changes) {
    Object.assign(state, changes);
    state.hidden = [...hidden].join(" ");
    mrsr.remember(protocol.name, "table", { ...state, metric: metric() === protocol.primary ? "" : state.metric });
    draw();
  }

  const key = (at, word) => `${at}.${words[at].indexOf(word)}`;

  const shownRows = () =>
    overview.rows
      .map((_, row) => row)
      .filter((row) => !overview.rows[row].some((word, at) => hidden.has(key(at, word))));

  const wanted = () =>
    state.find
      .toLowerCase()
      .split(/[\s,]+/)
      .filter(Boolean);

  /** Indices of the columns to show, in their order. */
  function shownColumns() {
    const all = overview.columns.map((_, column) => column);
    const found = all.filter((column) => {
      const { name, source } = overview.columns[column];
      return !wanted().length || wanted().some((word) => `${name} ${source}`.toLowerCase().includes(word));
    });
    if (state.sort === "name") {
      found.sort((a, b) => overview.columns[a].name.localeCompare(overview.columns[b].name) * (state.up ? -1 : 1));
    } else if (overview.rows[state.sort]) {
      const figure = (column) => mrsr.number(figures()[Number(state.sort)][column].value);
      const sign = (metric().higher ? -1 : 1) * (state.up ? -1 : 1);
      found.sort((a, b) => Number.isNaN(figure(a)) - Number.isNaN(figure(b)) || sign * (figure(a) - figure(b)) || 0);
    }
    return found;
  }

  function sortBy(column, changes) {
    change(changes);
    body.querySelector(`[data-column="${column}"]`).focus();
  }

  const figures = () => overview.figures[protocol.metricIndex(metric())];

  function heading(column, parts) {
    const isSorted = state.sort === String(column);
    const better = column === "name" ? "ascending" : metric().higher ? "descending" : "ascending";
    const worse = better === "ascending" ? "descending" : "ascending";
    // The best first, then the worst first, then the order of the protocol.
    const next = isSorted ? (state.up ? { sort: "", up: "" } : { up: "1" }) : { sort: String(column), up: "" };
    const mark = isSorted ? (state.up ? "↑" : "↓") : "";
    return h(
      "th",
      { scope: "col", "aria-sort": isSorted ? (state.up ? worse : better) : null },
      h(
        "button",
        { type: "button", class: "sort", "data-column": column, on: { click: () => sortBy(column, next) } },
        parts.map((part) => h("span", {}, part)),
        h("span", { class: "mark", "aria-hidden": "true" }, mark),
      ),
    );
  }

  function figureCell(row, column) {
    const { name, source } = overview.columns[column];
    const figure = figures()[row][column];
    const content = [
      h("b", { class: "value" }, figure.text),
      figure.spread && h("small", {}, figure.spread),
      figure.raised && h("sup", {}, figure.raised.replace("¹", "1")),
    ];
    const show = (event) => mrsr.tip.show(event.currentTarget, () => explained(row, column));
    const on = { mouseenter: show, focus: show, mouseleave: mrsr.tip.hide, blur: mrsr.tip.hide };
    const kind = { class: "figure", on };
    const inner = figure.seeds
      ? h(
          "a",
          { ...kind, href: mrsr.address(protocol.name, "cell", { row, label: name, metric: metric().name }) },
          content,
        )
      : h("span", { ...kind, tabindex: "0" }, content);
    return h(
      "td",
      { class: [figure.best && "best", figure.text === "–" && "none"].filter(Boolean).join(" ") || null },
      inner,
      track(row, figure),
    );
  }

  /** Where a figure lies between the least and the greatest of its row; only where there is room for it. */
  function track(row, figure) {
    const values = figures()
      [row].map(({ value }) => mrsr.number(value))
      .filter(Number.isFinite);
    const [low, high, value] = [Math.min(...values), Math.max(...values), mrsr.number(figure.value)];
    if (shownRows().length > 2 || !(high > low)) return null;
    const share = Number.isFinite(value) ? (100 * (value - low)) / (high - low) : null;
    return h(
      "span",
      { class: "track", "aria-hidden": "true" },
      share !== null && h("i", { style: `left: ${share.toFixed(1)}%` }),
    );
  }

  /** What a figure is: shown on hover and focus. */
  async function explained(row, column) {
    const { name, source } = overview.columns[column];
    const figure = figures()[row][column];
    const title = h("strong", {}, `${name} · ${protocol.rowText(row)} · ${metric().text}`);
    if (source)
      return [
        title,
        h("p", {}, `Quoted from ${source}, not run here. A difference from any other column is not a measured gain.`),
      ];
    if (!figure.seeds) {
      const why = overview.absent.filter((cell) => cell.row === row && cell.label === name);
      return [
        title,
        h("p", {}, why.length ? "No figure here:" : "No figure here: it was not requested."),
        why.map((cell) => h("p", {}, `${cell.reason}: ${cell.text}`)),
      ];
    }
    const lines = [
      h(
        "p",
        {},
        `${figure.text}${figure.spread && ` ${figure.spread}`}: ${figure.seeds === 1 ? "one seed" : `mean ${figure.spread ? "± standard deviation " : ""}over ${figure.seeds} seeds`}.`,
      ),
    ];
    const own = mrsr.letters(figure.raised);
    if (own.length) {
      const tied = overview.columns.filter(
        (other, at) => at !== column && mrsr.letters(figures()[row][at].raised).some((letter) => own.includes(letter)),
      );
      lines.push(
        h(
          "p",
          {},
          tied.length
            ? `Group ${own.join(", ")}: not told apart from ${tied.map((other) => other.name).join(", ")}.`
            : `Group ${own.join(", ")}: differs from every other column with a letter.`,
        ),
      );
    }
    const { baseline } = overview;
    const estimate = baseline && baseline !== name ? await protocol.estimate(row, metric(), name, baseline) : null;
    if (estimate) lines.push(...mrsr.estimateLines(estimate, metric(), `${name} minus ${baseline}`));
    return [title, ...lines];
  }

  function draw() {
    const rows = shownRows();
    const columns = shownColumns();
    const head = h(
      "tr",
      {},
      heading("name", ["method"]),
      rows.map((row) =>
        heading(
          row,
          overview.rows[row].map((word) => word.replace(/^x(?=\d)/, "×")),
        ),
      ),
    );
    const lines = columns.map((column) => {
      const { name, source, raised } = overview.columns[column];
      const quoted = source && h("span", { class: "quoted" }, `quoted: ${source}`);
      return h(
        "tr",
        { class: source ? "is-quoted" : null },
        h("th", { scope: "row" }, name, raised && h("sup", {}, raised.replace("¹", "1")), quoted),
        rows.map((row) => figureCell(row, column)),
      );
    });
    const caption = h("caption", {}, `${metric().text} · ${mrsr.counted(columns.length, "method")}`);
    body.replaceChildren(h("table", { class: "figures" }, caption, h("thead", {}, head), h("tbody", {}, lines)));
    const part = columns.length < overview.columns.length || rows.length < overview.rows.length;
    note.textContent = part
      ? `Shown: ${columns.length} of ${overview.columns.length} columns, ${rows.length} of ${overview.rows.length} rows. Letters and bold figures are of all columns of a row.`
      : "";
  }

  function metricField() {
    const options = overview.metrics.map(({ name, unit }) => [name, unit ? `${name} (${unit})` : name]);
    const choose = (name) => change({ metric: name });
    return options.length > 6
      ? mrsr.select("Metric", options, metric().name, choose)
      : mrsr.choice("Metric", options, metric().name, choose);
  }

  function rowFilters() {
    return overview.rowHeadings.map((name, at) => {
      if (words[at].length < 2) return null;
      const boxes = words[at].map((word) => {
        const toggle = (event) => {
          if (event.target.checked) hidden.delete(key(at, word));
          else hidden.add(key(at, word));
          change({});
        };
        return h(
          "label",
          { class: "box" },
          h("input", { type: "checkbox", checked: !hidden.has(key(at, word)), on: { change: toggle } }),
          word.replace(/^x(?=\d)/, "×"),
        );
      });
      return h("fieldset", { class: "field" }, h("legend", {}, name), h("div", { class: "boxes" }, boxes));
    });
  }

  const lines = () => [
    [
      "method",
      "source",
      "row",
      "metric",
      "value",
      "SD over seeds",
      "seeds",
      "letters",
      "not told from the best",
      "signature",
    ],
    ...shownColumns().flatMap((column) =>
      shownRows().map((row) => {
        const { name, source } = overview.columns[column];
        const figure = figures()[row][column];
        const own = source
          ? ["", "", "", ""]
          : [figure.sd === "NaN" ? "" : figure.sd, figure.seeds, mrsr.letters(figure.raised).join(""), figure.best];
        return [
          name,
          source,
          overview.rows[row].join(" "),
          metric().name,
          figure.value === "NaN" ? "" : figure.value,
          ...own,
          source ? "" : metric().signature,
        ];
      }),
    ),
  ];

  const find = h("input", {
    type: "search",
    value: state.find,
    placeholder: "edsr, poan",
    on: { input: (event) => change({ find: event.target.value }) },
  });
  draw();
  return {
    title: "Table",
    content: [
      h(
        "div",
        { class: "tools" },
        metricField(),
        h("label", { class: "field" }, h("span", {}, "Find methods"), find),
        rowFilters(),
        mrsr.exports(`${overview.folder}-table`, lines),
      ),
      h(
        "div",
        { class: "beside" },
        h("div", {}, body, note),
        h(
          "ul",
          {},
          overview.caption.key.map((statement) => h("li", {}, statement)),
        ),
      ),
      h(
        "details",
        {},
        h("summary", {}, "How these figures were made"),
        h("p", {}, overview.caption.title),
        h(
          "ul",
          {},
          overview.caption.details.map((statement) => h("li", {}, statement)),
        ),
      ),
    ],
  };
};
