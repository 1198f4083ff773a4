/**
 * The process that renders chat templates; ./renderer.ts starts it and talks to it. It is plain JavaScript because Node 20
 * runs no TypeScript, and it is a process because a worker thread is not enough: when a template makes one allocation beyond
 * the thread's `resourceLimits` (`a = a + a` forty times, a long `replace`), V8 ends the whole process.
 *
 * @typedef {{ id: number, template: string, variables: Record<string, unknown>, localTimeMs: number, timeoutMs: number,
 *   maxOutputBytes: number }} RenderRequest  `localTimeMs`: wall clock of the user's time zone, as if it were UTC
 * @typedef {{ kind: "rendered", text: string, usedClock: boolean } | { kind: "refused" | "failed", message: string }
 *   | { kind: "timeout" }} RenderOutcome
 */
import { Script } from "node:vm";
import { Environment, Interpreter, parse, tokenize } from "@huggingface/jinja";
import { strftime } from "./strftime.mjs";

/** As in the sandbox of Jinja2, which Transformers renders templates with. */
const maxRange = 100_000;
/** Longest list or mapping a template may build; a larger one could end the process before the clock does. */
const maxItems = 1_000_000;

class Refusal extends Error {}

class BoundedInterpreter extends Interpreter {
  /** @param {Environment} environment @param {number} maxLength in UTF-16 units */
  constructor(environment, maxLength) {
    super(environment);
    this.maxLength = maxLength;
  }

  /** @override @type {Interpreter["evaluate"]} */
  evaluate(statement, environment) {
    const result = super.evaluate(statement, environment);
    const value = result.value;
    if (typeof value === "string" && value.length > this.maxLength) throw new Error(`a text is longer than ${this.maxLength} characters`);
    if (Array.isArray(value) && value.length > maxItems) throw new Error(`a list is longer than ${maxItems} items`);
    return result;
  }
}

/** @param {number} start @param {number} [stop] @param {number} [step] */
function range(start, stop, step = 1) {
  const [from, to] = stop === undefined ? [0, start] : [start, stop];
  if (![from, to, step].every(Number.isSafeInteger)) throw new Error("range() takes integers");
  if (step === 0) throw new Error("range() step must not be zero");
  const length = Math.max(0, Math.ceil((to - from) / step));
  if (length > maxRange) throw new Error(`range() of ${length} items is longer than ${maxRange}`);
  return Array.from({ length }, (_, index) => from + index * step);
}

/** @type {Map<string, ReturnType<typeof parse>>} the last templates used; a program with one model has one */
const parsed = new Map();

/** @param {string} template */
function parseCached(template) {
  let program = parsed.get(template);
  if (program === undefined) {
    program = parse(tokenize(template, { trim_blocks: true, lstrip_blocks: true })); // as Transformers sets them
    if (parsed.size === 8) parsed.clear();
    parsed.set(template, program);
  }
  return program;
}

/** @param {RenderRequest} request @returns {RenderOutcome} */
function render({ template, variables, localTimeMs, maxOutputBytes }) {
  let usedClock = false;
  const environment = new Environment();
  const globals = {
    true: true,
    True: true,
    false: false,
    False: false,
    none: null,
    None: null,
    range,
    raise_exception: (/** @type {unknown} */ message) => {
      throw new Refusal(String(message));
    },
    strftime_now: (/** @type {unknown} */ format) => {
      usedClock = true;
      return strftime(new Date(localTimeMs), String(format));
    },
  };
  for (const [name, value] of Object.entries({ ...globals, ...variables })) environment.set(name, value);
  const text = String(new BoundedInterpreter(environment, maxOutputBytes).run(parseCached(template)).value);
  if (Buffer.byteLength(text) > maxOutputBytes) throw new Error(`the text is longer than ${maxOutputBytes} bytes`);
  return { kind: "rendered", text, usedClock };
}

/**
 * Runs the job that the message handler left in `globalThis.renderJob`. The limit of `vm` covers what a script runs itself,
 * so the call has to be in one. This clock stops a loop and keeps the process, also when the parent has died meanwhile; what
 * it can't interrupt (one long native operation) the parent ends together with the process.
 */
const runJob = new Script("renderJob()");

process.on("message", (/** @type {RenderRequest} */ request) => {
  /** @type {RenderOutcome} */
  let outcome;
  try {
    Object.assign(globalThis, { renderJob: () => render(request) });
    outcome = runJob.runInThisContext({ timeout: request.timeoutMs });
  } catch (error) {
    const { code, message } = /** @type {NodeJS.ErrnoException} */ (error);
    if (code === "ERR_SCRIPT_EXECUTION_TIMEOUT") outcome = { kind: "timeout" };
    else outcome = { kind: error instanceof Refusal ? "refused" : "failed", message: message.slice(0, 2000) };
  }
  process.send?.({ id: request.id, outcome });
});
process.on("disconnect", () => process.exit());
process.on("SIGINT", () => {}); // Ctrl-C reaches every process of a terminal; this one ends with its parent
process.send?.("ready");
