/** Points that are drawn by writing pixels into one ImageData, and queries on them. */

import type { MapColumns } from "../api";
import { isInside, type Shape } from "./palette";

/** A view of the plane: pixel = (value - center) * scale, with y upwards. */
export interface View { x: number; y: number; scale: number }

/** The colors (by group, 0 is not drawn) and shapes of the points. */
export interface Style {
  group: Uint8Array;
  colors: Uint32Array;
  faded: Uint32Array;
  shapes: Shape[] | null;
  selected: Uint8Array | null;
}

const MAX_SIZE = 9;

export class Scatter {
  readonly n: number;
  readonly low: [number, number];
  readonly high: [number, number];
  #image: ImageData | null = null;
  #words = new Uint32Array(0);
  #grid: Grid | null = null;
  #visible: number;
  #stamps = new Map<string, Int32Array>();

  constructor(readonly data: MapColumns) {
    this.n = data.n;
    this.#visible = data.n;
    [this.low, this.high] = extent(data);
  }

  /** The view that shows all points. */
  fit(width: number, height: number): View {
    const [spanX, spanY] = [this.high[0] - this.low[0] || 1, this.high[1] - this.low[1] || 1];
    return {
      x: (this.low[0] + this.high[0]) / 2,
      y: (this.low[1] + this.high[1]) / 2,
      scale: 0.92 * Math.min(width / spanX, height / spanY),
    };
  }

  /** Draw the points; `ratio` is the number of device pixels in a CSS pixel. */
  draw(context: CanvasRenderingContext2D, view: View, style: Style, ratio: number): void {
    const { width, height } = context.canvas;
    if (!width || !height) return;
    if (this.#image?.width !== width || this.#image.height !== height) {
      this.#image = new ImageData(width, height);
      this.#words = new Uint32Array(this.#image.data.buffer);
    }
    this.#words.fill(0);
    const size = this.#size(width, height, ratio);
    if (style.selected) {
      this.#pass(view, style, style.faded, size, width, height, ratio, 0);
      this.#visible = this.#pass(view, style, style.colors, size, width, height, ratio, 1);
    } else {
      this.#visible = this.#pass(view, style, style.colors, size, width, height, ratio, -1);
    }
    context.putImageData(this.#image, 0, 0);
  }

  #size(width: number, height: number, ratio: number): number {
    const room = 0.6 * Math.sqrt((width * height) / Math.max(this.#visible, 1));
    return Math.round(Math.min(Math.max(room, ratio), MAX_SIZE * ratio));
  }

  #pass(
    view: View, style: Style, colors: Uint32Array, size: number,
    width: number, height: number, ratio: number, wanted: number,
  ): number {
    const { x, y } = this.data;
    const { group, selected } = style;
    const words = this.#words;
    const scale = view.scale * ratio;
    const [left, top] = [width / 2 - view.x * scale, height / 2 + view.y * scale];
    const margin = (size >> 1) + 1;
    const [right, bottom] = [width - margin, height - margin];
    const stamps = this.#stampsOf(style.shapes, size, width);
    const single = stamps.length === 1 ? stamps[0] : undefined;
    let drawn = 0;
    if (size <= 2 && wanted < 0) {
      const isPair = size === 2;
      for (let i = 0; i < this.n; i++) {
        const px = (left + (x[i] as number) * scale) | 0;
        const py = (top - (y[i] as number) * scale) | 0;
        if (px < 1 || py < 1 || px >= right || py >= bottom) continue;
        const color = colors[group[i] as number] as number;
        if (color === 0) continue;
        drawn += 1;
        const base = py * width + px;
        words[base] = color;
        if (isPair) words[base - 1] = words[base - width] = words[base - width - 1] = color;
      }
      return drawn;
    }
    for (let i = 0; i < this.n; i++) {
      const px = (left + (x[i] as number) * scale) | 0;
      const py = (top - (y[i] as number) * scale) | 0;
      if (px < margin || py < margin || px >= right || py >= bottom) continue;
      if (wanted >= 0 && (selected as Uint8Array)[i] !== wanted) { drawn += 1; continue; }
      const g = group[i] as number;
      const color = colors[g] as number;
      if (color === 0) continue;
      drawn += 1;
      const base = py * width + px;
      const stamp = single ?? (stamps[g % stamps.length] as Int32Array);
      for (let j = 0; j < stamp.length; j++) words[base + (stamp[j] as number)] = color;
    }
    return drawn;
  }

  #stampsOf(shapes: Shape[] | null, size: number, width: number): Int32Array[] {
    const names: Shape[] = size < 5 || !shapes?.length ? [size < 4 ? "square" : "disc"] : shapes;
    return names.map((shape) => {
      const key = `${shape}/${size}/${width}`;
      let stamp = this.#stamps.get(key);
      if (!stamp) this.#stamps.set(key, (stamp = makeStamp(shape, size, width)));
      return stamp;
    });
  }

  /** The index of the point closest to a place, or -1 if none is within the distance. */
  nearest(x: number, y: number, distance: number, skip?: (index: number) => boolean): number {
    this.#grid ??= new Grid(this.data, this.low, this.high);
    return this.#grid.nearest(x, y, distance, skip);
  }

  /** The nearest points to a place, nearest first. */
  around(x: number, y: number, n: number): number[] {
    const { x: xs, y: ys } = this.data;
    const best: [number, number][] = [];
    let worst = Infinity;
    for (let i = 0; i < this.n; i++) {
      const d = ((xs[i] as number) - x) ** 2 + ((ys[i] as number) - y) ** 2;
      if (d >= worst) continue;
      best.push([d, i]);
      if (best.length > 4 * n) {
        best.sort((a, b) => a[0] - b[0]);
        best.length = n;
        worst = (best[n - 1] as [number, number])[0];
      }
    }
    return best.sort((a, b) => a[0] - b[0]).slice(0, n).map((pair) => pair[1]);
  }

  /** The point next to another one in a direction of the screen (y downwards). */
  step(index: number, dx: number, dy: number): number {
    const { x, y } = this.data;
    const [x0, y0] = [x[index] as number, y[index] as number];
    const span = Math.max(this.high[0] - this.low[0], this.high[1] - this.low[1]);
    for (let radius = span / 256; radius < 2 * span; radius *= 2) {
      this.#grid ??= new Grid(this.data, this.low, this.high);
      const hit = this.#grid.nearest(x0, y0, radius, (i) => {
        const along = ((x[i] as number) - x0) * dx - ((y[i] as number) - y0) * dy;
        const across = Math.abs(((x[i] as number) - x0) * dy + ((y[i] as number) - y0) * dx);
        return along <= span / 2000 || across > along;
      });
      if (hit >= 0) return hit;
    }
    return -1;
  }

  /** The points in a polygon given in CSS pixels. */
  inside(polygon: [number, number][], view: View, width: number, height: number): number[] {
    const canvas = new OffscreenCanvas(Math.ceil(width), Math.ceil(height));
    const context = canvas.getContext("2d", { willReadFrequently: true });
    if (!context || polygon.length < 3) return [];
    context.beginPath();
    for (const [px, py] of polygon) context.lineTo(px, py);
    context.fill("evenodd");
    const bits = new Uint32Array(context.getImageData(0, 0, canvas.width, canvas.height).data.buffer);
    const { x, y } = this.data;
    const [left, top] = [width / 2 - view.x * view.scale, height / 2 + view.y * view.scale];
    const result: number[] = [];
    for (let i = 0; i < this.n; i++) {
      const px = Math.floor(left + (x[i] as number) * view.scale);
      const py = Math.floor(top - (y[i] as number) * view.scale);
      if (px < 0 || py < 0 || px >= canvas.width || py >= canvas.height) continue;
      if ((bits[py * canvas.width + px] as number) >>> 31) result.push(i);
    }
    return result;
  }
}

function makeStamp(shape: Shape, size: number, width: number): Int32Array {
  const offsets: number[] = [];
  const half = (size - 1) / 2;
  for (let i = 0; i < size; i++) {
    for (let j = 0; j < size; j++) {
      const [u, v] = half ? [(j - half) / half, (i - half) / half] : [0, 0];
      const isFull = size < 4 && shape === "square";
      if (isFull || isInside(shape, u, v)) offsets.push((i - (size >> 1)) * width + j - (size >> 1));
    }
  }
  return Int32Array.from(offsets);
}

function extent(data: MapColumns): [[number, number], [number, number]] {
  const low: [number, number] = [Infinity, Infinity];
  const high: [number, number] = [-Infinity, -Infinity];
  for (let i = 0; i < data.n; i++) {
    const [x, y] = [data.x[i] as number, data.y[i] as number];
    if (x < low[0]) low[0] = x;
    if (x > high[0]) high[0] = x;
    if (y < low[1]) low[1] = y;
    if (y > high[1]) high[1] = y;
  }
  return data.n ? [low, high] : [[-1, -1], [1, 1]];
}

/** Points by cell of a uniform grid. */
class Grid {
  readonly #side: number;
  readonly #cell: [number, number];
  readonly #start: Uint32Array;
  readonly #order: Uint32Array;

  constructor(private readonly data: MapColumns, private readonly low: [number, number], high: [number, number]) {
    this.#side = Math.max(1, Math.min(512, Math.ceil(Math.sqrt(data.n / 4))));
    this.#cell = [(high[0] - low[0]) / this.#side || 1, (high[1] - low[1]) / this.#side || 1];
    const cells = new Uint32Array(data.n);
    this.#start = new Uint32Array(this.#side ** 2 + 1);
    for (let i = 0; i < data.n; i++) {
      const cell = this.#index(data.x[i] as number, 0) + this.#side * this.#index(data.y[i] as number, 1);
      cells[i] = cell;
      this.#start[cell + 1] = (this.#start[cell + 1] as number) + 1;
    }
    for (let c = 0; c < this.#side ** 2; c++) {
      this.#start[c + 1] = (this.#start[c + 1] as number) + (this.#start[c] as number);
    }
    const next = this.#start.slice();
    this.#order = new Uint32Array(data.n);
    for (let i = 0; i < data.n; i++) {
      const cell = cells[i] as number;
      this.#order[next[cell] as number] = i;
      next[cell] = (next[cell] as number) + 1;
    }
  }

  #index(value: number, axis: 0 | 1): number {
    const place = Math.floor((value - this.low[axis]) / this.#cell[axis]);
    return Math.min(Math.max(place, 0), this.#side - 1);
  }

  nearest(x: number, y: number, distance: number, skip?: (index: number) => boolean): number {
    let best = -1;
    let limit = distance * distance;
    const [i0, i1] = [this.#index(x - distance, 0), this.#index(x + distance, 0)];
    const [j0, j1] = [this.#index(y - distance, 1), this.#index(y + distance, 1)];
    for (let j = j0; j <= j1; j++) {
      for (let i = i0; i <= i1; i++) {
        const cell = i + this.#side * j;
        for (let k = this.#start[cell] as number; k < (this.#start[cell + 1] as number); k++) {
          const point = this.#order[k] as number;
          const dx = (this.data.x[point] as number) - x;
          const dy = (this.data.y[point] as number) - y;
          const d = dx * dx + dy * dy;
          if (d <= limit && !skip?.(point)) { limit = d; best = point; }
        }
      }
    }
    return best;
  }
}
