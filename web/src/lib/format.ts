/** Numbers, times and sizes as text. */

export function number(value: number | null | undefined, digits = 2): string {
  if (value == null || !Number.isFinite(value)) return "–";
  return value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits }).replace("-", "−");
}

export const integer = (value: number | null | undefined): string => number(value, 0);

/** A number with about three significant digits. */
export function short(value: number | null | undefined): string {
  if (value == null || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(1).replaceAll("-", "−");
  if (Number.isInteger(value)) return integer(value);
  return number(value, size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3);
}

export function percent(fraction: number | null | undefined): string {
  if (fraction == null) return "–";
  const value = 100 * fraction;
  return `${number(value, value < 1 && value > 0 ? 2 : value < 10 ? 1 : 0)}%`;
}

export function duration(seconds: number | null | undefined): string {
  if (seconds == null || !Number.isFinite(seconds)) return "–";
  const rounded = Math.max(0, Math.round(seconds));
  if (rounded < 60) return `${rounded} s`;
  const minutes = Math.floor(rounded / 60);
  if (minutes < 60) return `${minutes} min ${rounded % 60} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

export function ago(seconds: number, now = Date.now() / 1000): string {
  const passed = Math.max(0, now - seconds);
  if (passed < 10) return "just now";
  if (passed < 60) return `${Math.floor(passed)} s ago`;
  if (passed < 3600) return `${Math.floor(passed / 60)} min ago`;
  if (passed < 86400) return `${Math.floor(passed / 3600)} h ago`;
  return new Date(1000 * seconds).toLocaleDateString("en-US", { year: "numeric", month: "short", day: "numeric" });
}

export function bytes(size: number | null | undefined): string {
  if (size == null) return "–";
  const names = ["bytes", "kB", "MB", "GB", "TB"];
  let power = 0;
  let value = size;
  while (value >= 1000 && power < names.length - 1) { value /= 1000; power += 1; }
  return `${number(value, power && value < 10 ? 1 : 0)} ${names[power]}`;
}

export const plural = (n: number, noun: string): string =>
  `${integer(n)} ${n === 1 || noun.endsWith("s") ? noun : `${noun}s`}`;

export const text = (value: unknown): string =>
  value == null ? "missing" : typeof value === "number" ? short(value) : String(value);
