// The stage: two canvases behind a divider, always in one view.
"use strict";

mrsr.Stage = class {
  constructor() {
    const { h } = mrsr;
    this.view = { zoom: 1, x: 0.5, y: 0.5 };
    this.painted = null;
    this.canvases = [0, 1].map((side) => h("canvas", { slot: ["first", "second"][side], role: "img" }));
    this.handle = h("div", { slot: "handle", class: "handle" }, h("span", { "aria-hidden": "true" }, "‹ ›"));
    const values = { "aria-valuemin": "0", "aria-valuemax": "100", "aria-valuenow": "50" };
    this.slider = h(
      "img-comparison-slider",
      { handle: "true", value: "50", tabindex: "0", role: "slider", "aria-label": "Divider", ...values },
      this.canvases,
      this.handle,
    );
    this.edges = ["top", "bottom", "left", "right"].map((edge) =>
      h("span", { class: `edge ${edge}`, "aria-hidden": "true" }),
    );
    this.element = h("div", { class: "stage" }, this.slider, this.edges);
    this.#listen();
  }

  /** Show a painted image on each side. `size`: [height, width] of the slice, pixels as high as they are wide. */
  show(painted, size) {
    Object.assign(this, { painted, size });
    this.#draw();
  }

  /** Say what the sides show, and the directions at the edges. */
  describe(names, edges) {
    this.canvases.forEach((canvas, side) => canvas.setAttribute("aria-label", names[side]));
    this.edges.forEach((element, at) => (element.textContent = edges[at]));
  }

  #listen() {
    const { slider } = this;
    slider.addEventListener("slide", () => this.#divided());
    const zoom = (event) => {
      event.preventDefault();
      this.zoom(event.deltaY < 0 ? 1.2 : 1 / 1.2, this.#shareAt(event));
    };
    slider.addEventListener("wheel", zoom, { passive: false });
    slider.addEventListener("pointerdown", (event) => {
      const box = this.handle.getBoundingClientRect();
      const isOnHandle =
        event.clientX >= box.left &&
        event.clientX <= box.right &&
        event.clientY >= box.top &&
        event.clientY <= box.bottom;
      if (isOnHandle || event.button !== 0) return;
      slider.setPointerCapture(event.pointerId);
      this.drag = { x: event.clientX, y: event.clientY };
    });
    slider.addEventListener("pointermove", (event) => {
      if (!this.drag) return;
      this.#move((this.drag.x - event.clientX) * this.#unit, (this.drag.y - event.clientY) * this.#unit);
      this.drag = { x: event.clientX, y: event.clientY };
    });
    for (const end of ["pointerup", "pointercancel"]) slider.addEventListener(end, () => (this.drag = null));
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(this.element);
  }

  leave() {
    this.observer.disconnect();
  }

  resize() {
    const [width, height] = [this.element.clientWidth, this.element.clientHeight].map((side) =>
      Math.round(side * devicePixelRatio),
    );
    if (!width || !height) return;
    for (const canvas of this.canvases) [canvas.width, canvas.height] = [width, height];
    this.#draw();
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

  /** Zoom about a point of the image, given as shares of it; by default the middle of the view. */
  zoom(factor, [x, y] = [this.view.x, this.view.y]) {
    const zoom = Math.min(40, Math.max(1, this.view.zoom * factor));
    const by = this.view.zoom / zoom;
    this.view = { zoom, x: x + (this.view.x - x) * by, y: y + (this.view.y - y) * by };
    this.#draw();
  }

  /** Move the view by a tenth of what it shows, as an arrow key says. */
  pan(key) {
    const [across, down] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[key];
    const step = 1 / (10 * this.view.zoom);
    this.#move(across * step * this.size[1], down * step * this.size[0]);
  }

  #move(across, down) {
    this.view.x += across / this.size[1];
    this.view.y += down / this.size[0];
    this.#draw();
  }

  /** Of the image, what one pixel of the window shows. */
  get #unit() {
    return devicePixelRatio / (mrsr.fit(this.canvases[0], this.size) * this.view.zoom);
  }

  #shareAt(event) {
    const box = this.element.getBoundingClientRect();
    const [across, down] = [event.clientX - box.left - box.width / 2, event.clientY - box.top - box.height / 2];
    return [this.view.x + (across * this.#unit) / this.size[1], this.view.y + (down * this.#unit) / this.size[0]];
  }

  #draw() {
    if (!this.painted || !this.canvases[0].width) return;
    for (const axis of ["x", "y"]) this.view[axis] = Math.min(1, Math.max(0, this.view[axis]));
    this.canvases.forEach((canvas, side) => mrsr.draw(canvas, this.painted[side], this.size, this.view));
  }

  #divided() {
    this.slider.setAttribute("aria-valuenow", String(Math.round(this.slider.value)));
  }
};
