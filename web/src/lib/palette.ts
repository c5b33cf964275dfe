/** Colors that color-blind users can distinguish, and a shape for each of them. */

const LIGHT = ["#0072b2", "#c44e00", "#00805c", "#a83f92", "#806400", "#5a5ad6", "#333333", "#c2185b", "#2b8a9e", "#767676"];
const DARK = ["#56b4e9", "#f0a03c", "#2ec99a", "#e58cc6", "#f0e442", "#9a9cff", "#f2f2f2", "#ff7a6b", "#5fd3d8", "#9aa0a8"];

export const SHAPES = [
  "disc", "square", "triangle", "diamond", "plus", "cross", "wedge", "ring", "bar", "pillar",
] as const;
export type Shape = (typeof SHAPES)[number];

export const labelColor = (index: number, isDark: boolean): string => {
  const colors = isDark ? DARK : LIGHT;
  return colors[index % colors.length] as string;
};
export const labelShape = (index: number): Shape =>
  SHAPES[(index + Math.floor(index / SHAPES.length)) % SHAPES.length] as Shape;

/** Whether a point of the unit square belongs to a shape. */
export function isInside(shape: Shape, u: number, v: number): boolean {
  const [a, b] = [Math.abs(u), Math.abs(v)];
  switch (shape) {
    case "disc": return u * u + v * v <= 1;
    case "ring": { const r = u * u + v * v; return r <= 1.1 && r >= 0.3; }
    case "square": return a <= 0.85 && b <= 0.85;
    case "diamond": return a + b <= 1.1;
    case "triangle": return v >= -1 && v <= 0.85 && a <= (v + 1.15) / 2;
    case "wedge": return v <= 1 && v >= -0.85 && a <= (1.15 - v) / 2;
    case "plus": return (a <= 0.34 && b <= 1) || (b <= 0.34 && a <= 1);
    case "cross": return Math.abs(a - b) <= 0.42 && a <= 1 && b <= 1;
    case "bar": return b <= 0.45 && a <= 1.05;
    case "pillar": return a <= 0.45 && b <= 1.05;
  }
}

/** The outline of a shape for a legend, in a box from -1 to 1. */
export const PATHS: Record<Shape, string> = {
  disc: "M-1,0a1,1 0 1,0 2,0a1,1 0 1,0 -2,0z",
  ring: "M-1,0a1,1 0 1,0 2,0a1,1 0 1,0 -2,0zM-.5,0a.5,.5 0 1,1 1,0a.5,.5 0 1,1 -1,0z",
  square: "M-.85,-.85h1.7v1.7h-1.7z",
  diamond: "M0,-1.1l1.1,1.1l-1.1,1.1l-1.1,-1.1z",
  triangle: "M0,-1l1,1.85h-2z",
  wedge: "M0,1l1,-1.85h-2z",
  plus: "M-.34,-1h.68v.66h.66v.68h-.66v.66h-.68v-.66h-.66v-.68h.66z",
  cross: "M-1,-.6l.4,-.4l.6,.6l.6,-.6l.4,.4l-.6,.6l.6,.6l-.4,.4l-.6,-.6l-.6,.6l-.4,-.4l.6,-.6z",
  bar: "M-1.05,-.45h2.1v.9h-2.1z",
  pillar: "M-.45,-1.05h.9v2.1h-.9z",
};

export const rgb = (hex: string): [number, number, number] => [
  parseInt(hex.slice(1, 3), 16), parseInt(hex.slice(3, 5), 16), parseInt(hex.slice(5, 7), 16),
];

/** A color as it stands in the memory of an ImageData on a little-endian machine. */
export const pack = (red: number, green: number, blue: number): number =>
  ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;

export const packHex = (hex: string): number => pack(...rgb(hex));

export function mix(hex: string, background: string, fraction: number): number {
  const [a, b] = [rgb(hex), rgb(background)];
  const at = (i: 0 | 1 | 2): number => Math.round(a[i] * fraction + b[i] * (1 - fraction));
  return pack(at(0), at(1), at(2));
}

// Points on the viridis scale.
const VIRIDIS = ["#440154", "#482878", "#3e4989", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725"];

/** viridis without the end that the background of the theme would hide. */
export function scaleColor(fraction: number, isDark: boolean): string {
  const t = isDark ? 0.2 + 0.8 * fraction : 0.82 * fraction;
  const place = Math.min(Math.max(t, 0), 1) * (VIRIDIS.length - 1);
  const i = Math.min(Math.floor(place), VIRIDIS.length - 2);
  const [a, b] = [rgb(VIRIDIS[i] as string), rgb(VIRIDIS[i + 1] as string)];
  const part = (c: 0 | 1 | 2): string =>
    Math.round(a[c] + (b[c] - a[c]) * (place - i)).toString(16).padStart(2, "0");
  return `#${part(0)}${part(1)}${part(2)}`;
}
