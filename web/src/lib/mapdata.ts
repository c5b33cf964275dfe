/** The map of a run as the browser holds it; the last maps are kept. */

import { get, getBytes, readMap, type MapInfo } from "../api";
import { labelColor, labelShape, mix, packHex, scaleColor, type Shape } from "./palette";
import { Scatter, type Style } from "./scatter";

const NO_LABEL = 255;
const infos = new Map<string, Promise<MapInfo>>();
const scatters = new Map<string, Promise<Scatter>>();
const values = new Map<string, Promise<Float32Array>>();

function remember<T>(store: Map<string, Promise<T>>, key: string, make: () => Promise<T>, limit = 4): Promise<T> {
  let entry = store.get(key);
  if (!entry) {
    entry = make();
    store.set(key, entry);
    entry.catch(() => store.delete(key));
    if (store.size > limit) store.delete(store.keys().next().value as string);
  }
  return entry;
}

/** A training run changes, so that the version (its step) is part of the key. */
export const loadInfo = (run: string, version: number): Promise<MapInfo> =>
  remember(infos, `${run}/${version}`, () => get<MapInfo>(`runs/${run}/map`));

export const loadScatter = (run: string, projection: string, version: number): Promise<Scatter> =>
  remember(scatters, `${run}/${projection}/${version}`, async () =>
    new Scatter(readMap(await getBytes(`runs/${run}/map/${encodeURIComponent(projection)}`))));

export const loadValues = (run: string, column: string, version: number): Promise<Float32Array> =>
  remember(values, `${run}/${column}/${version}`, async () =>
    new Float32Array(await getBytes(`runs/${run}/map/values/${encodeURIComponent(column)}`)), 8);

/** The projection that is shown first: t-SNE or UMAP if computed, since they separate best. */
export function defaultProjection(info: MapInfo | null): string {
  const ready = info?.projections.filter((entry) => entry.is_ready).map((entry) => entry.name) ?? [];
  return ["umap", "tsne"].find((name) => ready.includes(name)) ?? ready[0] ?? "pca";
}

/** Points colored and shaped by label; group 0 is hidden, group 1 has no label. */
export function styleByLabel(
  scatter: Scatter, labels: string[], isDark: boolean, hidden: Set<number>, selected: Uint8Array | null,
): Style {
  const { label } = scatter.data;
  const group = new Uint8Array(scatter.n);
  for (let i = 0; i < scatter.n; i++) {
    const index = label[i] as number;
    group[i] = index === NO_LABEL ? 1 : 2 + (index % 200);
  }
  const colors = new Uint32Array(256);
  const faded = new Uint32Array(256);
  const [plain, back] = isDark ? ["#8d949f", "#16181c"] : ["#6b727d", "#ffffff"];
  const shapes: Shape[] = ["disc", "disc"];
  colors[1] = packHex(labels.length ? (plain as string) : labelColor(0, isDark));
  faded[1] = mix(plain as string, back as string, 0.3);
  for (let index = 0; index < 200; index++) {
    shapes.push(labelShape(index));
    if (hidden.has(index)) continue;
    colors[index + 2] = packHex(labelColor(index, isDark));
    faded[index + 2] = mix(plain as string, back as string, 0.3);
  }
  return { group, colors, faded, shapes, selected };
}

export interface Range { low: number; high: number; missing: number }

/** The range of a column without the outermost percent on both sides. */
export function rangeOf(column: Float32Array): Range {
  const present = column.filter((value) => Number.isFinite(value)).sort();
  const at = (fraction: number): number => present[Math.round(fraction * (present.length - 1))] ?? 0;
  return { low: at(0.01), high: at(0.99), missing: column.length - present.length };
}

export function styleByValue(column: Float32Array, range: Range, isDark: boolean, selected: Uint8Array | null): Style {
  const group = new Uint8Array(column.length);
  const span = range.high - range.low || 1;
  for (let i = 0; i < column.length; i++) {
    const t = ((column[i] as number) - range.low) / span;
    group[i] = Number.isNaN(t) ? 1 : 2 + Math.round(253 * Math.min(Math.max(t, 0), 1));
  }
  const colors = new Uint32Array(256);
  const faded = new Uint32Array(256);
  const [plain, back] = isDark ? ["#5d646f", "#16181c"] : ["#b9bec6", "#ffffff"];
  colors[1] = packHex(plain as string);
  faded.fill(mix(plain as string, back as string, 0.35), 1);
  for (let i = 0; i < 254; i++) colors[2 + i] = packHex(scaleColor(i / 253, isDark));
  return { group, colors, faded, shapes: null, selected };
}

/** Where to write the name of each label: the medians of its points. */
export function labelPlaces(scatter: Scatter, labels: string[], hidden: Set<number>): { x: number; y: number; text: string }[] {
  if (labels.length > 30) return [];
  const xs: number[][] = labels.map(() => []);
  const ys: number[][] = labels.map(() => []);
  const stride = Math.max(1, Math.floor(scatter.n / 40_000));
  for (let i = 0; i < scatter.n; i += stride) {
    const index = scatter.data.label[i] as number;
    xs[index]?.push(scatter.data.x[i] as number);
    ys[index]?.push(scatter.data.y[i] as number);
  }
  const middle = (list: number[]): number => Float64Array.from(list).sort()[list.length >> 1] as number;
  return labels.flatMap((text, index) =>
    hidden.has(index) || !xs[index]?.length ? [] : [{ x: middle(xs[index] as number[]), y: middle(ys[index] as number[]), text }]);
}

export function countLabels(scatter: Scatter, n: number): number[] {
  const counts = new Array<number>(n).fill(0);
  for (const index of scatter.data.label) if (index < n) counts[index] = (counts[index] as number) + 1;
  return counts;
}
