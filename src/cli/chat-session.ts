import { readFile, writeFile } from "node:fs/promises";
import { ChainruleError, NotFoundError, OptionError } from "../errors.ts";
import type { Chat, GenerateOptions, GenerateResult, Model } from "../index.ts";
import { showEffort } from "./effort.ts";
import { formatBytes } from "./progress-bar.ts";
import { statistics } from "./statistics.ts";

export interface SessionOptions {
  readonly system?: string;
  readonly generate: GenerateOptions;
  /** Whether each answer is followed by a line of numbers. */
  readonly stats: boolean;
  /** Where answers go, as they come. */
  readonly write: (text: string) => void;
  /** Where everything else goes, line by line. */
  readonly note: (line: string) => void;
}

const help = `/system TEXT  begin anew with this system message (without TEXT: with the model's own)
/clear        forget every turn
/save FILE    write the conversation to a file
/load FILE    go on with a saved conversation
/stats        numbers of the last answer, context and memory in use
/help         this list
/exit         end; so does Ctrl-D
Ctrl-C        stop the answer; when there is none, end`;

/** A conversation by lines: a line is a turn, or a command where it begins with a slash. */
export class ChatSession implements Disposable {
  readonly #model: Model;
  readonly #options: SessionOptions;
  #chat: Chat;
  #answering: AbortController | undefined;
  #last: GenerateResult | undefined;

  constructor(model: Model, options: SessionOptions) {
    this.#model = model;
    this.#options = options;
    this.#chat = this.#newChat(options.system);
  }

  /** Takes one line. @returns whether the conversation goes on */
  async take(line: string): Promise<boolean> {
    const text = line.trim();
    if (text === "") return true;
    if (!text.startsWith("/")) {
      await this.#answer(text);
      return true;
    }
    const [, command, argument] = /^(\S+)\s*(.*)$/s.exec(text)!;
    if (command === "/exit") return false;
    await this.#obey(command!, argument!);
    return true;
  }

  /** Stops the answer under way. @returns whether there was one */
  interrupt(): boolean {
    this.#answering?.abort();
    return this.#answering !== undefined;
  }

  [Symbol.dispose](): void {
    this.#chat[Symbol.dispose]();
  }

  async #answer(message: string): Promise<void> {
    const { write, note, stats } = this.#options;
    const answering = new AbortController();
    this.#answering = answering;
    const effort = showEffort(note);
    try {
      for await (const event of this.#chat.send(message, { signal: answering.signal })) {
        if (event.kind === "effort") effort.update(event.fact);
        else if (event.kind !== "growth" && event.kind !== "branch") effort.clear();
        if (event.kind === "dropped") note(droppedTurns(event.numTurns));
        else if (event.kind === "token") write(event.text);
        else if (event.kind === "finish") {
          write(`${event.text}\n`);
          this.#last = event.result;
          if (stats) note(statistics(event.result, this.#model));
        }
      }
    } catch (error) {
      if (!answering.signal.aborted) throw error;
      write("\n");
      note("stopped; this turn is not part of the conversation");
    } finally {
      this.#answering = undefined;
    }
  }

  async #obey(command: string, argument: string): Promise<void> {
    const { note } = this.#options;
    switch (command) {
      case "/help":
        return note(help);
      case "/system":
        this.#replace(this.#newChat(argument === "" ? undefined : argument));
        return note("a new conversation begins");
      case "/clear":
        this.#chat.clear();
        return note("every turn is forgotten");
      case "/save":
        await writeFile(fileName(command, argument), this.#chat.save());
        return note(`${this.#chat.messages.length} messages saved in ${argument}`);
      case "/load": {
        const saved = await readFile(fileName(command, argument), "utf8").catch(explainMissing(argument));
        this.#replace(await this.#model.restoreChat(saved, { generate: this.#options.generate }));
        return note(`${this.#chat.messages.length} messages loaded from ${argument}`);
      }
      case "/stats":
        return this.#describe().forEach(note);
      default:
        throw new OptionError(command, "there is no such command; /help lists them");
    }
  }

  #describe(): string[] {
    const { weightsBytes, cacheBytes } = this.#model.memory();
    const used = this.#last === undefined ? 0 : this.#last.usage.promptTokens + this.#last.usage.completionTokens;
    return [
      ...(this.#last === undefined ? [] : [statistics(this.#last, this.#model)]),
      `${this.#chat.messages.length} messages · ${used} of ${this.#model.contextLength} tokens of context at the last answer`,
      `memory: weights ${formatBytes(weightsBytes)}, cache up to ${formatBytes(cacheBytes)}`,
    ];
  }

  #newChat(system: string | undefined): Chat {
    const { generate } = this.#options;
    return this.#model.chat(system === undefined ? { generate } : { system, generate });
  }

  #replace(chat: Chat): void {
    this.#chat[Symbol.dispose]();
    this.#chat = chat;
    this.#last = undefined;
  }
}

/** What a person at a terminal may answer by trying something else; everything else ends the program. */
export function isForgivable(error: unknown): boolean {
  return error instanceof ChainruleError && error.code !== "NATIVE" && error.code !== "DISPOSED";
}

function droppedTurns(count: number): string {
  return `the conversation outgrew the context: the oldest ${count === 1 ? "turn was" : `${count} turns were`} dropped`;
}

function fileName(command: string, argument: string): string {
  if (argument === "") throw new OptionError(command, "needs a file name");
  return argument;
}

function explainMissing(file: string) {
  return (error: NodeJS.ErrnoException): never => {
    throw error.code === "ENOENT" ? new NotFoundError(`${file}: there is no such file`) : error;
  };
}
