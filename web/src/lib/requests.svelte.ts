import { ApiError } from "../api";

export const message = (error: unknown): string =>
  error instanceof ApiError ? error.message : error instanceof Error ? `The page failed: ${error.message}` : String(error);

export const isAbort = (error: unknown): boolean =>
  error instanceof DOMException && error.name === "AbortError";

/** Runs at most one request at a time; of the requests that arrive meanwhile, only the latest. */
export class Latest<A, R> {
  error = $state<string | null>(null);
  isBusy = $state(false);
  #next: { argument: A } | null = null;
  #generation = 0;

  constructor(private readonly call: (argument: A) => Promise<R>, private readonly use: (result: R, argument: A) => void) {}

  request(argument: A): void {
    this.#next = { argument };
    if (!this.isBusy) void this.#run();
  }

  /** Forget the waiting request, and the result of the one that runs. */
  cancel(): void {
    this.#next = null;
    this.#generation += 1;
  }

  async #run(): Promise<void> {
    this.isBusy = true;
    while (this.#next) {
      const { argument } = this.#next;
      this.#next = null;
      const generation = this.#generation;
      try {
        const result = await this.call(argument);
        if (generation === this.#generation) {
          this.use(result, argument);
          this.error = null;
        }
      } catch (error) {
        if (generation === this.#generation && !isAbort(error)) this.error = message(error);
      }
    }
    this.isBusy = false;
  }
}

/** The state of an operation that the user starts. */
export class Action<R> {
  result = $state.raw<R | null>(null);
  error = $state<string | null>(null);
  isBusy = $state(false);
  #generation = 0;

  async run(call: () => Promise<R>): Promise<R | null> {
    const generation = ++this.#generation;
    this.isBusy = true;
    this.error = null;
    try {
      const result = await call();
      if (generation !== this.#generation) return null;
      this.result = result;
      return result;
    } catch (error) {
      if (generation === this.#generation && !isAbort(error)) this.error = message(error);
      return null;
    } finally {
      if (generation === this.#generation) this.isBusy = false;
    }
  }

  clear(): void {
    this.#generation += 1;
    this.result = null;
    this.error = null;
    this.isBusy = false;
  }
}
