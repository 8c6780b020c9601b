// What every part of the page uses: data that arrive as scripts, elements, numbers, addresses, downloads.
"use strict";

const mrsr = { views: {} };

/** What a reader can do something about. */
mrsr.Problem = class extends Error {};

// Data: data/NAME.js calls mrsr.put("NAME", content).
{
  const requests = new Map();

  /** The content of data/NAME.js, loaded once. */
  mrsr.load = (name) => {
    if (!requests.has(name)) {
      const request = {};
      request.promise = new Promise((resolve, reject) => {
        request.resolve = resolve;
        request.reject = reject;
      });
      requests.set(name, request);
      const script = document.createElement("script");
      script.src = `data/${name}.js`;
      script.onerror = () => {
        requests.delete(name);
        request.reject(
          new mrsr.Problem(`${script.getAttribute("src")} is missing. Copy the whole folder of this page.`),
        );
      };
      document.head.append(script);
    }
    return requests.get(name).promise;
  };

  mrsr.put = (name, content) => requests.get(name)?.resolve(content);
}

// Elements. All text of others becomes text nodes and attributes, never markup.
{
  function filled(element, properties, children) {
    for (const [name, value] of Object.entries(properties ?? {})) {
      if (name === "on") {
        for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
      } else if (value === true) {
        element.setAttribute(name, "");
      } else if (value !== false && value !== null && value !== undefined) {
        element.setAttribute(name, value);
      }
    }
    element.append(
      ...children
        .flat(Infinity)
        .filter((child) => child !== null && child !== undefined && child !== "" && child !== false),
    );
    return element;
  }

  /** An HTML element: attributes, listeners under `on`, then children. */
  mrsr.h = (tag, properties, ...children) => filled(document.createElement(tag), properties, children);

  /** An SVG element. */
  mrsr.s = (tag, properties, ...children) =>
    filled(document.createElementNS("http://www.w3.org/2000/svg", tag), properties, children);

  /** A labelled select: options are [value, text]. */
  mrsr.select = (label, options, chosen, change) => {
    const { h } = mrsr;
    const items = options.map(([value, text]) =>
      h("option", { value, selected: String(value) === String(chosen) }, text),
    );
    const element = h("select", { on: { change: () => change(element.value) } }, items);
    return h("label", { class: "field" }, h("span", {}, label), element);
  };

  /** A group of buttons, of which one is pressed: options are [value, text]. */
  mrsr.choice = (label, options, chosen, change) => {
    const { h } = mrsr;
    const buttons = options.map(([value, text]) => {
      const press = () => {
        for (const button of buttons) button.setAttribute("aria-pressed", String(button.value === value));
        change(value);
      };
      return h(
        "button",
        { type: "button", value, "aria-pressed": String(value === chosen), on: { click: press } },
        text,
      );
    });
    return h(
      "div",
      { class: "field", role: "group", "aria-label": label },
      h("span", {}, label),
      h("div", { class: "choice" }, buttons),
    );
  };

  mrsr.button = (text, click, properties) => mrsr.h("button", { type: "button", ...properties, on: { click } }, text);
}

// Numbers. Those that are not finite come as texts.
{
  mrsr.number = (value) => (value === null || value === undefined ? NaN : Number(value));

  const formats = new Map();

  /** A number with so many decimals, rounded as the tables are: half to even. '–' for NaN. */
  mrsr.fixed = (value, decimals, signed = false) => {
    const number = mrsr.number(value);
    if (Number.isNaN(number)) return "–";
    const key = `${decimals}${signed}`;
    if (!formats.has(key)) {
      const digits = { minimumFractionDigits: decimals, maximumFractionDigits: decimals };
      const sign = signed ? "always" : "auto";
      const options = { ...digits, useGrouping: false, roundingMode: "halfEven", signDisplay: sign };
      formats.set(key, new Intl.NumberFormat("en", options));
    }
    return formats.get(key).format(number).replace("-", "−");
  };

  /** [low, high] as text, with signs. */
  mrsr.interval = (bounds, decimals) => `[${bounds.map((bound) => mrsr.fixed(bound, decimals, true)).join(", ")}]`;

  /** With at most four digits: 0.01234, 12.34, 1234. */
  mrsr.short = (value) => {
    const number = mrsr.number(value);
    return Number.isFinite(number) ? String(Number(number.toPrecision(4))) : "–";
  };

  mrsr.counted = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;
}

// Addresses: #/PROTOCOL/VIEW?name=value. Every view can be sent as a link.
{
  mrsr.address = (protocol, view, values = {}) => {
    const given = Object.entries(values).filter(([, value]) => value !== null && value !== undefined && value !== "");
    const query = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
    return `#/${encodeURIComponent(protocol)}/${view}${query ? `?${query}` : ""}`;
  };

  mrsr.place = () => {
    const match = /^#\/([^/?]*)\/([a-z]+)(?:\?(.*))?$/.exec(location.hash);
    if (!match) return null;
    return {
      protocol: decodeURIComponent(match[1]),
      view: match[2],
      values: Object.fromEntries(new URLSearchParams(match[3])),
    };
  };

  /** Remember the choices of the view that is open in its address, without a step in the history. */
  mrsr.remember = (protocol, view, values) => {
    const open = mrsr.place();
    if (!open || (open.protocol === protocol && open.view === view))
      history.replaceState(null, "", mrsr.address(protocol, view, values));
  };
}

// Downloads.
{
  const cell = (value) => (/^[^",\r\n]*$/.test(value) ? value : `"${value.replaceAll('"', '""')}"`);

  mrsr.csv = (lines) => lines.map((line) => line.map((value) => cell(String(value ?? ""))).join(",")).join("\n") + "\n";

  /** The lines of a CSV text that the suite wrote. */
  mrsr.parseCsv = (text) => {
    const lines = [];
    let line = [];
    for (const match of text.matchAll(/("(?:[^"]|"")*"|[^",\r\n]*)(,|\r?\n|$)/g)) {
      if (match.index === text.length && line.length === 0) break;
      line.push(match[1].startsWith('"') ? match[1].slice(1, -1).replaceAll('""', '"') : match[1]);
      if (match[2] !== ",") {
        lines.push(line);
        line = [];
      }
    }
    return lines;
  };

  mrsr.save = (name, text) => {
    const link = mrsr.h("a", { href: URL.createObjectURL(new Blob([text])), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };

  /** Buttons that save what a view shows: `lines` gives it as lines of a table, the first one with the headings. */
  mrsr.exports = (name, lines) => {
    const objects = () => {
      const [headings, ...rest] = lines();
      return rest.map((line) => Object.fromEntries(headings.map((heading, at) => [heading, line[at] ?? null])));
    };
    return mrsr.h(
      "div",
      { class: "exports" },
      mrsr.button("CSV", () => mrsr.save(`${name}.csv`, mrsr.csv(lines())), { "aria-label": "Save as CSV" }),
      mrsr.button("JSON", () => mrsr.save(`${name}.json`, JSON.stringify(objects(), null, 2) + "\n"), {
        "aria-label": "Save as JSON",
      }),
    );
  };
}
