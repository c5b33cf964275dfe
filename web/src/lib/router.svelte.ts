/** Routes in the fragment of the address: `#/run/ID/map?projection=pca`. */

export interface Route { parts: string[]; query: Record<string, string> }

function parse(hash: string): Route {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split("?", 2) as [string, string?];
  const parts = path.split("/").filter(Boolean).map(decode);
  return { parts, query: Object.fromEntries(new URLSearchParams(query)) };
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

export const route = $state<Route>(parse(location.hash));

function update(): void {
  const next = parse(location.hash);
  // Equal parts stay the same objects, so that only what depends on a change is computed again.
  if (next.parts.join("/") !== route.parts.join("/")) route.parts = next.parts;
  route.query = next.query;
}

addEventListener("hashchange", update);
addEventListener("popstate", update);

export function link(parts: string[], query: Record<string, string | number | null | undefined> = {}): string {
  const pairs = Object.entries(query).filter(([, value]) => value != null && value !== "");
  const text = new URLSearchParams(pairs.map(([name, value]) => [name, String(value)])).toString();
  return `#/${parts.map(encodeURIComponent).join("/")}${text ? `?${text}` : ""}`;
}

/** Go to a view; with `replace`, the current entry of the history is replaced. */
export function go(hash: string, replace = false): void {
  if (hash === location.hash) return;
  if (replace) history.replaceState(null, "", hash);
  else history.pushState(null, "", hash);
  update();
}

/** Change parameters of the current view; undefined or empty removes one. Back undoes it. */
export function setQuery(changes: Record<string, string | number | null | undefined>, replace = false): void {
  go(link(route.parts, { ...route.query, ...changes }), replace);
}
