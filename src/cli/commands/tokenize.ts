import { text as readAll } from "node:stream/consumers";
import { Command } from "commander";
import { OptionError } from "../../errors.ts";
import { loadVocabulary, type TokenId, type Vocabulary } from "../../index.ts";
import { home } from "../home.ts";
import { interruptible } from "../interrupt.ts";
import { ProgressBar } from "../progress-bar.ts";

interface Options {
  readonly model: string;
  readonly chat?: boolean;
  readonly special?: boolean;
  readonly bos: boolean;
  readonly offline?: boolean;
  readonly json?: boolean;
}

export const tokenize = new Command("tokenize")
  .description("shows the tokens of a text as generate would send them, BOS included; loads no weights")
  .argument("<text>", "the text; - for standard input")
  .option("-m, --model <name>", "a model's name or a path", "smollm2")
  .option("--chat", "the text as a user's message, through the model's chat template")
  .option("--special", "read special tokens written in the text, such as <|im_start|>, as such")
  .option("--no-bos", "no BOS token before the text")
  .option("--offline", "use only what is there already")
  .option("--json", "print one object: tokens, pieces (half a character is U+FFFD)")
  .addHelpText("after", '\nExample:\n  $ chainrule tokenize "Hello world" --json')
  .action(async (argument: string, options: Options) => {
    if (options.chat === true && options.special === true)
      throw new OptionError("--special", "is of no use with --chat: a template writes special tokens");
    if (options.chat === true && !options.bos) throw new OptionError("--no-bos", "can't be combined with --chat: the template decides");
    const text = argument === "-" ? await readAll(process.stdin) : argument;
    await interruptible(async (signal) => {
      using vocabulary = await open(options, signal);
      const tokens = await encode(vocabulary, text, options, signal);
      const pieces = tokens.map((token) => Buffer.from(vocabulary.tokenizer.piece(token, { special: true })).toString("utf8"));
      process.stdout.write(options.json === true ? `${JSON.stringify({ tokens, pieces })}\n` : table(tokens, pieces));
    });
  });

async function open({ model, offline }: Options, signal: AbortSignal): Promise<Vocabulary> {
  const bar = new ProgressBar();
  try {
    return await loadVocabulary(model, {
      home: home(),
      signal,
      ...(offline === undefined ? {} : { offline }),
      onNotice: (notice) => bar.note(notice),
      onProgress: (progress) => {
        if (progress.phase === "download") bar.update(progress);
      },
    });
  } finally {
    bar.clear();
  }
}

async function encode(vocabulary: Vocabulary, text: string, options: Options, signal: AbortSignal): Promise<TokenId[]> {
  if (options.chat === true) return vocabulary.encode([{ role: "user", content: text }], { signal });
  const special = options.special ?? false;
  return options.bos
    ? vocabulary.encode(text, { parseSpecial: special, signal })
    : vocabulary.tokenizer.encode(text, { special, bos: false });
}

/** One token a line; quotes keep spaces and line ends visible. */
function table(tokens: readonly TokenId[], pieces: readonly string[]): string {
  const width = Math.max(...tokens.map((token) => String(token).length), 1);
  const rows = tokens.map((token, index) => `${String(token).padStart(width)}  ${JSON.stringify(pieces[index])}\n`);
  return `${rows.join("")}${tokens.length} ${tokens.length === 1 ? "token" : "tokens"}\n`;
}
