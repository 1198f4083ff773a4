import { HttpError } from "./http-error.ts";

// Who may come in, and whose turn it is: decided in the parent, without asking the child.

export interface AdmissionLimits {
  /** Requests under way, waiting ones included; more get 429. Default 128. */
  readonly maxRequests?: number;
  /** Of these, how many the engine works on at the same time; the others wait. Default 64. */
  readonly maxRunning?: number;
  /** Bytes of the bodies of all requests under way; more get 429. Default 64 MiB. */
  readonly maxBytes?: number;
  /** Milliseconds that a request may wait for its turn; then it gets 503. Default 60,000. */
  readonly queueMs?: number;
}

interface Waiting {
  readonly ticket: Ticket;
  readonly priority: number;
  readonly arrival: number;
  readonly begin: () => void;
}

/** Counts requests and their bytes, and gives turns by (priority, arrival). */
export class Admission {
  readonly #maxRequests: number;
  readonly #maxRunning: number;
  readonly #maxBytes: number;
  readonly #queueMs: number;
  readonly #tickets = new Set<Ticket>();
  readonly #running = new Set<Ticket>();
  #queue: Waiting[] = [];
  #bytes = 0;
  #arrivals = 0;
  accepted = 0;
  refused = 0;

  constructor(limits: AdmissionLimits = {}) {
    this.#maxRequests = limits.maxRequests ?? 128;
    this.#maxRunning = limits.maxRunning ?? 64;
    this.#maxBytes = limits.maxBytes ?? 64 * 2 ** 20;
    this.#queueMs = limits.queueMs ?? 60_000;
  }

  /** Requests under way. */
  get size(): number {
    return this.#tickets.size;
  }
  get running(): number {
    return this.#running.size;
  }
  /** Requests whose turn has not come. */
  get waiting(): number {
    return this.#queue.length;
  }
  get bytes(): number {
    return this.#bytes;
  }

  /** Lets a request in. @throws HttpError 429 where the server is full */
  enter(): Ticket {
    if (this.#tickets.size >= this.#maxRequests)
      throw this.#refuse("too_many_requests", `the server has ${this.#maxRequests} requests under way`);
    this.accepted += 1;
    const ticket = new Ticket(this);
    this.#tickets.add(ticket);
    return ticket;
  }

  /** @internal */
  hold(ticket: Ticket, bytes: number): void {
    if (this.#bytes + bytes > this.#maxBytes && this.#bytes > ticket.bytes)
      throw this.#refuse(
        "too_many_bytes",
        `the bodies of the requests under way hold as many bytes as the server admits, ${this.#maxBytes}`,
      );
    this.#bytes += bytes;
  }

  /** @internal resolves when the ticket's turn has come */
  async turn(ticket: Ticket, priority: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.#queue.length === 0 && this.#running.size < this.#maxRunning) {
      this.#running.add(ticket);
      return;
    }
    await new Promise<void>((resolve, reject) => {
      const end = (settle: () => void) => {
        clearTimeout(timer);
        signal.removeEventListener("abort", onAbort);
        this.#queue = this.#queue.filter((one) => one !== waiting);
        settle();
      };
      const onAbort = () => end(() => reject(signal.reason));
      const timer = setTimeout(
        () => end(() => reject(new HttpError(503, "queue_timeout", `the request's turn did not come within ${this.#queueMs} ms`))),
        this.#queueMs,
      );
      const waiting: Waiting = { ticket, priority, arrival: this.#arrivals++, begin: () => end(resolve) };
      signal.addEventListener("abort", onAbort, { once: true });
      this.#queue.push(waiting);
      this.#queue.sort((a, b) => b.priority - a.priority || a.arrival - b.arrival);
    });
  }

  /** @internal */
  leave(ticket: Ticket): void {
    if (!this.#tickets.delete(ticket)) return;
    this.#bytes -= ticket.bytes;
    if (!this.#running.delete(ticket)) return;
    while (this.#queue.length > 0 && this.#running.size < this.#maxRunning) {
      const [next] = this.#queue;
      this.#running.add(next!.ticket);
      next!.begin(); // and out of the queue
    }
  }

  #refuse(code: string, message: string): HttpError {
    this.refused += 1;
    return new HttpError(429, code, message);
  }
}

/** A request that was let in, until it leaves. */
export class Ticket {
  readonly #admission: Admission;
  readonly arrivedAt = performance.now();
  /** When its turn came. */
  startedAt: number | undefined;
  bytes = 0;
  #turn: Promise<void> | undefined;

  /** @internal made by {@link Admission.enter} */
  constructor(admission: Admission) {
    this.#admission = admission;
  }

  /** Counts bytes of its body. @throws HttpError 429 where all bodies together are too large */
  addBytes(count: number): void {
    this.#admission.hold(this, count);
    this.bytes += count;
  }

  /**
   * Waits for its turn: higher priorities first, then in order of arrival. A request has one turn: however often its parts ask, and also
   * while it still waits, they get the one that was asked for first.
   * @throws HttpError 503 after `queueMs`; the signal's reason
   */
  start(priority: number, signal: AbortSignal): Promise<void> {
    this.#turn ??= this.#admission.turn(this, priority, signal).then(() => {
      this.startedAt = performance.now();
    });
    return this.#turn;
  }

  /** Idempotent. */
  leave(): void {
    this.#admission.leave(this);
  }
}
