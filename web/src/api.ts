/** The types of the API, as in varied/studio/schemas, and the functions that call it. */

export interface ImageExample { kind: "image"; image: string }
export type Cell = string | number | boolean | null;
export interface RowExample { kind: "row"; row: Record<string, Cell> }
export interface ArrayExample { kind: "array"; shape: number[]; values: (number | null)[] }
export interface SoundExample { kind: "sound"; audio: string; image: string | null }
export interface MoleculeExample { kind: "molecule"; smiles: string; image: string | null }
export type Example = ImageExample | RowExample | ArrayExample | SoundExample | MoleculeExample;

export type Source = { rows: number[] } | { upload: string } | { examples: Example[] };
export type Label = string | number | Record<string, string | number> | null;
export interface Snippets { python: string; command: string | null; curl: string }
export interface Decoded { example: Example | null; error: string | null; label: string | null }
export interface WithSnippets { snippets: Snippets | null }

export interface About { version: string; root: string; is_single_run: boolean }
export type RunState = "training" | "finished" | "stopped" | "corrupted";
export interface RunSummary {
  id: string; name: string; model: string; data: string; state: RunState;
  step: number | null; minus_elbo: number | null; reconstruction: number | null; kl: number | null;
  active: string | null; modified: number; parent: string; error: string | null;
}
export interface RunDetails extends RunSummary {
  kind: string; noun: string; shape: number[]; latent_dim: number | null; n_data: number | null;
  labels: string[]; covariates: string[]; columns: string[]; operations: string[];
  reasons: Record<string, string>; figures: string[]; spec: string;
}
export interface History {
  columns: Record<string, (number | string | null)[]>;
  total_steps: number | null; remaining_seconds: number | null;
}
export interface Unit {
  index: number; kl: number | null; is_active: boolean;
  mean: number; std: number; low: number; high: number;
}
export interface Units extends WithSnippets { units: Unit[] }

export interface Option {
  name: string; group: string; type: "number" | "integer" | "text" | "choice" | "flag";
  default: string | number | boolean | null; choices: string[]; help: string;
}
export interface ZooModel { name: string; group: string; purpose: string }
export interface Upload {
  id: string; name: string; kind: string; n: number; shape: number[]; notes: string[];
  problems: string[]; columns: string[]; labels: string[]; preview: Example[];
}
export interface NewRun {
  upload: string; model: string | null; options: Record<string, string | number | boolean>;
  name: string | null;
}
export interface Estimate {
  sentences: string[]; spec: string; minutes: number | null; memory_bytes: number | null;
}

export interface Projection { name: string; title: string; is_ready: boolean; explained: number | null }
export interface MapInfo {
  n: number; total: number; is_sampled: boolean; projections: Projection[]; labels: string[];
  columns: string[]; snippets: Snippets | null;
}
export interface MapDecoded extends WithSnippets { z: number[]; decoded: Decoded; is_outside: boolean }
export interface Neighbor { row: number; distance: number; label: string | null }
export interface Neighbors extends WithSnippets { neighbors: Neighbor[] }
export interface Item {
  row: number; name: string; label: string | null; split: "train" | "validation" | "test";
  example: Example;
}

export interface DecodedList extends WithSnippets { results: Decoded[] }
export interface DecodeResponse extends DecodedList { is_outside: boolean[] | null }
export interface Encoded {
  mean: number[] | null; std: number[] | null; kl: number | null;
  positions: Record<string, [number, number]>; ellipses?: Record<string, [number, number, number]>;
  neighbors?: Neighbor[]; error: string | null;
}
export interface EncodeResponse extends WithSnippets { results: Encoded[] }
export interface Pair { original: Example | null; reconstruction: Example | null; error: string | null }
export interface ReconstructResponse extends WithSnippets { results: Pair[] }
export interface InterpolateResponse extends WithSnippets {
  rows: Decoded[][]; log_density: number[][] | null; threshold: number | null;
}
export interface AttributeEffect { name: string; change: number }
export interface AttributeResponse extends WithSnippets {
  name: string; step: number[]; effects: AttributeEffect[]; n_positive: number; n_negative: number;
}
export interface Anomaly {
  row: number; name: string; score: number; p_value: number | null; is_anomaly: boolean;
  reason: string; excess: Example | null;
}
export interface DetectResponse extends WithSnippets {
  results: Anomaly[]; threshold: number | null; max_fpr: number; normal_scores: number[];
}
export interface ImputedCell {
  row: number; column: string; value: Cell; low: number | null; high: number | null;
  probability: number | null;
}
export interface ImputeResponse extends WithSnippets {
  rows: RowExample[]; cells: ImputedCell[]; download: string | null;
}
export interface CompareResponse extends WithSnippets {
  sentence: string; figures: Record<string, (number | string | null)[]>;
  originals: Example[]; reconstructions: Example[][];
}
export interface Job {
  id: string; operation: string; state: "running" | "finished" | "failed" | "canceled";
  progress: number | null; error: string | null; result: Record<string, unknown> | null;
}

/** An error of the API: one sentence that says what to do. */
export class ApiError extends Error {
  constructor(message: string, readonly status: number, readonly fields: string[] = []) {
    super(message);
  }
}

async function failure(response: Response): Promise<ApiError> {
  let message = `The server answered with status ${response.status}.`;
  let fields: string[] = [];
  if (response.status === 401) {
    message = "This link is no longer valid. Open the link that `varied studio` has printed.";
  }
  try {
    const body = (await response.json()) as { error?: { message?: string; fields?: string[] } };
    if (response.status !== 401 && body.error?.message) message = body.error.message;
    fields = body.error?.fields ?? [];
  } catch {
    // The body is no JSON; the sentence above stands.
  }
  return new ApiError(message, response.status, fields);
}

async function request(path: string, init: RequestInit = {}): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(`/api/${path}`, { credentials: "same-origin", ...init });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError("The server does not answer. Start `varied studio` again.", 0);
  }
  if (!response.ok) throw await failure(response);
  return response;
}

export async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  return (await (await request(path, { signal: signal ?? null })).json()) as T;
}

export async function getBytes(path: string, signal?: AbortSignal): Promise<ArrayBuffer> {
  return await (await request(path, { signal: signal ?? null })).arrayBuffer();
}

function asPost(body: unknown, signal?: AbortSignal): RequestInit {
  const headers = { "Content-Type": "application/json" };
  return { method: "POST", headers, body: JSON.stringify(body), signal: signal ?? null };
}

export async function post<T>(path: string, body: unknown = {}, signal?: AbortSignal): Promise<T> {
  return (await (await request(path, asPost(body, signal))).json()) as T;
}

export async function postBlob(path: string, body: unknown): Promise<Blob> {
  return await (await request(path, asPost(body))).blob();
}

/** Upload files; `onProgress` receives the fraction that was sent. */
export function upload(files: File[], onProgress: (fraction: number) => void): Promise<Upload> {
  return new Promise((resolve, reject) => {
    const form = new FormData();
    for (const file of files) form.append("file", file, file.webkitRelativePath || file.name);
    const sender = new XMLHttpRequest();
    sender.open("POST", "/api/uploads");
    sender.responseType = "json";
    sender.upload.onprogress = (event) => {
      if (event.lengthComputable) onProgress(event.loaded / event.total);
    };
    sender.onerror = () => reject(new ApiError("The upload was interrupted. Try it again.", 0));
    sender.onload = () => {
      if (sender.status >= 200 && sender.status < 300) return resolve(sender.response as Upload);
      const message = (sender.response as { error?: { message?: string } } | null)?.error?.message;
      reject(new ApiError(message ?? `The upload failed with status ${sender.status}.`, sender.status));
    };
    sender.send(form);
  });
}

export const thumbnail = (run: string, row: number): string =>
  `/api/runs/${run}/items/${row}/thumbnail`;

/** The columns of a map, read from the binary response. */
export interface MapColumns { n: number; x: Float32Array; y: Float32Array; row: Uint32Array; label: Uint8Array }

export function readMap(buffer: ArrayBuffer): MapColumns {
  const n = new DataView(buffer).getUint32(0, true);
  return {
    n,
    x: new Float32Array(buffer, 4, n),
    y: new Float32Array(buffer, 4 + 4 * n, n),
    row: new Uint32Array(buffer, 4 + 8 * n, n),
    label: new Uint8Array(buffer, 4 + 12 * n, n),
  };
}
