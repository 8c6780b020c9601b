// Slices on canvases: 16-bit numbers → intensities → grey, or a difference in colour.
"use strict";
{
  /** {rows, columns, values: Float32Array} of a stored image. Typed arrays are little-endian wherever browsers run. */
  mrsr.decoded = (stored) => {
    const bytes = Uint8Array.from(atob(stored.numbers), (letter) => letter.charCodeAt(0));
    const numbers = new Uint16Array(bytes.buffer);
    return {
      rows: stored.rows,
      columns: stored.columns,
      values: Float32Array.from(numbers, (number) => stored.offset + stored.step * number),
    };
  };

  /** a − b, of the same size. */
  mrsr.difference = (a, b) => ({ ...a, values: a.values.map((value, at) => value - b.values[at]) });

  const ends = { below: [86, 180, 233], above: [230, 159, 0] };

  /** Colour of a difference from −1 to 1: blue, black, orange; beyond, towards white. */
  function hue(share, pixel, at) {
    const end = share < 0 ? ends.below : ends.above;
    const size = Math.min(Math.abs(share), 1);
    for (let channel = 0; channel < 3; channel++) {
      pixel[at + channel] =
        size < 0.7 ? (end[channel] * size) / 0.7 : end[channel] + ((255 - end[channel]) * (size - 0.7)) / 0.3;
    }
    pixel[at + 3] = 255;
  }

  /** A canvas of the image's own size. `look`: {window: [low, high]} for grey, {scale} for a difference of ±scale. */
  mrsr.painted = (image, look) => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [image.columns, image.rows];
    const context = canvas.getContext("2d");
    const pixels = context.createImageData(image.columns, image.rows);
    const [low, high] = look.window ?? [0, 1];
    const gain = 255 / (high - low || 1);
    image.values.forEach((value, at) => {
      if (look.scale) {
        hue(value / look.scale, pixels.data, 4 * at);
      } else {
        pixels.data.fill((value - low) * gain, 4 * at, 4 * at + 3); // the array itself clips and rounds
        pixels.data[4 * at + 3] = 255;
      }
    });
    context.putImageData(pixels, 0, 0);
    return canvas;
  };

  /** A bar of the colours of a difference. */
  mrsr.colourBar = (width, height) => {
    const values = Float32Array.from({ length: width }, (_, at) => (2 * at) / (width - 1) - 1);
    const canvas = mrsr.painted({ rows: 1, columns: width, values }, { scale: 1 });
    Object.assign(canvas.style, { width: `${width}px`, height: `${height}px` });
    return canvas;
  };

  /**
   * Draw a painted image so that it fills `size` HR pixels ([height, width] in mm-true units) of the view.
   * `view`: {zoom, x, y}, where x and y are the centre as shares of the image.
   */
  mrsr.draw = (canvas, painted, size, view) => {
    const context = canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = "#000";
    context.fillRect(0, 0, canvas.width, canvas.height);
    const scale = mrsr.fit(canvas, size) * view.zoom;
    const [height, width] = [size[0] * scale, size[1] * scale];
    context.imageSmoothingEnabled = false;
    context.drawImage(painted, canvas.width / 2 - view.x * width, canvas.height / 2 - view.y * height, width, height);
  };

  /** Device pixels a unit where the whole image is shown. */
  mrsr.fit = (canvas, size) => Math.min(canvas.height / size[0], canvas.width / size[1]);
}
