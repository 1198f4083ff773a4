import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline/promises";
import { Command } from "commander";
import { ChatSession, isForgivable } from "../chat-session.ts";
import { addDecodingOptions, type DecodingOptions, decodingOptions } from "../decoding-options.ts";
import { home } from "../home.ts";
import { addModelOptions, loadModel, type ModelOptions } from "../load-model.ts";

interface Options extends ModelOptions, DecodingOptions {
  readonly system?: string;
  readonly stats?: boolean;
}

export const chat = addDecodingOptions(
  addModelOptions(new Command("chat").description("a conversation with a model; /help lists what can be typed besides messages")),
)
  .option("--system <text>", "what the conversation begins with")
  .option("--stats", "a line of numbers after an answer (default)")
  .option("--no-stats", "no such line")
  .addHelpText(
    "after",
    '\nExample:\n  $ chainrule chat --system "Answer in one sentence."\n  $ echo "Why is the sky blue?" | chainrule chat --no-stats',
  )
  .action(async (options: Options) => {
    await using model = await loadModel(options);
    using session = new ChatSession(model, {
      ...(options.system === undefined ? {} : { system: options.system }),
      generate: await decodingOptions(options),
      stats: options.stats ?? true,
      write: (text) => process.stdout.write(text),
      note: (line) => process.stderr.write(`${line}\n`),
    });
    await (process.stdin.isTTY ? converse(session, `${model.name}; /help for commands\n`) : readTurns(session));
  });

/** Lines of a pipe: each is a turn, an error ends the program. */
async function readTurns(session: ChatSession): Promise<void> {
  using _stop = onInterrupt(session, () => process.exit(130));
  for await (const line of createInterface({ input: process.stdin })) if (!(await session.take(line))) return;
}

/** A person at a terminal: a prompt, a history, and errors from which one goes on. */
async function converse(session: ChatSession, greeting: string): Promise<void> {
  const history = historyFile();
  const lines = createInterface({ input: process.stdin, output: process.stderr, prompt: "> ", history: history.read(), historySize: 1000 });
  lines.on("history", history.write);
  lines.on("SIGINT", () => {
    if (!session.interrupt()) lines.close();
  });
  process.stderr.write(greeting);
  lines.prompt();
  for await (const line of lines) {
    try {
      if (!(await session.take(line))) break;
    } catch (error) {
      if (!isForgivable(error)) throw error;
      process.stderr.write(`error: ${(error as Error).message}\n`);
    }
    lines.prompt();
  }
  lines.close();
}

/** Ctrl-C stops the answer; without one it ends the program. */
function onInterrupt(session: ChatSession, end: () => void): Disposable {
  const interrupt = () => {
    if (!session.interrupt()) end();
  };
  process.on("SIGINT", interrupt);
  return { [Symbol.dispose]: () => process.off("SIGINT", interrupt) };
}

/** What was typed before, newest first as readline keeps it; only its owner may read the file. */
function historyFile() {
  const path = join(home(), "chat-history");
  return {
    read(): string[] {
      try {
        return readFileSync(path, "utf8").split("\n").filter(Boolean);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
        throw error;
      }
    },
    write: (lines: string[]) => writeFileSync(path, `${lines.join("\n")}\n`, { mode: 0o600 }),
  };
}
