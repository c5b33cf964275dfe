/** What the browser remembers: the theme, the names of units and the selection. */

export type Theme = "system" | "light" | "dark";

function read(key: string): string | null {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

export function write(key: string, value: string): void {
  try {
    localStorage.setItem(key, value);
  } catch {
    // Storage is switched off; the value lasts until the page is closed.
  }
}

const media = matchMedia("(prefers-color-scheme: dark)");
const stored = read("varied.theme");

export const theme = $state<{ choice: Theme; isDark: boolean }>({
  choice: stored === "light" || stored === "dark" ? stored : "system",
  isDark: false,
});

function apply(): void {
  theme.isDark = theme.choice === "dark" || (theme.choice === "system" && media.matches);
  document.documentElement.dataset.theme = theme.isDark ? "dark" : "light";
}

media.addEventListener("change", apply);
apply();

export function setTheme(choice: Theme): void {
  theme.choice = choice;
  write("varied.theme", choice);
  apply();
}

export const reducesMotion = (): boolean => matchMedia("(prefers-reduced-motion: reduce)").matches;

/** The names that the user has given to the units of a run. */
export function unitNames(run: string): Record<string, string> {
  try {
    const value: unknown = JSON.parse(read(`varied.units.${run}`) ?? "{}");
    return value && typeof value === "object" ? (value as Record<string, string>) : {};
  } catch {
    return {};
  }
}

export const keepUnitNames = (run: string, names: Record<string, string>): void =>
  write(`varied.units.${run}`, JSON.stringify(names));

/** The selected rows by run; they stay until the page is closed. */
let selections = $state.raw<Record<string, number[]>>({});
const NONE: number[] = [];
export const selection = (run: string): number[] => selections[run] ?? NONE;
export function select(run: string, rows: number[]): void {
  selections = { ...selections, [run]: rows };
}

/** What screen readers announce. */
export const status = $state({ text: "" });
export function announce(text: string): void {
  status.text = text;
}
