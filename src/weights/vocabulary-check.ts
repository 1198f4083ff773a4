import { isUtf8 } from "node:buffer";
import { FormatError, UnsupportedError } from "../errors.ts";
import { charsmapFault } from "./charsmap.ts";
import type { GgufFile } from "./gguf-reader.ts";
import type { MetadataType } from "./gguf-types.ts";
import type { Metadata, StringArray } from "./metadata.ts";
import { TokenTable } from "./token-table.ts";
import { type PreTokenizer, preTokenizers, vocabularyModels } from "./vocabulary-names.ts";

/** The longest token of the vocabularies llama.cpp is tested with has 1,024 bytes; its tries recurse once per byte. */
const maxTokenBytes = 4096;
/** libllama writes a token's whole text for each of its characters that stands for no byte; bounds what all of them may take. */
const maxUndecodableBytes = 64 << 20;
const spaceByte = 0x20;
const tokenTypes = { normal: 1, byte: 6, last: 6 } as const;

/** Keys of special tokens, the deprecated ones last. `seperator` is how the format spells it. */
const specialKeys = {
  bos: "tokenizer.ggml.bos_token_id",
  eos: "tokenizer.ggml.eos_token_id",
  unknown: "tokenizer.ggml.unknown_token_id",
  separator: "tokenizer.ggml.seperator_token_id",
} as const;
const otherSpecialKeys = [
  ...["eot", "eom", "padding", "mask", "cls"].map((name) => `tokenizer.ggml.${name}_token_id`),
  ...["pre", "suf", "mid", "pad", "rep", "sep"].map((name) => `tokenizer.ggml.fim_${name}_token_id`),
  ...["prefix", "suffix", "middle"].map((name) => `tokenizer.ggml.${name}_token_id`),
];
const booleanKeys = [
  "add_bos_token",
  "add_eos_token",
  "add_sep_token",
  "add_space_prefix",
  "remove_extra_whitespaces",
  "normalizer.lowercase",
  "normalizer.strip_accents",
].map((name) => `tokenizer.ggml.${name}`);

export interface VocabularyFacts {
  readonly model: keyof typeof vocabularyModels;
  /** As the file says; undefined where it says nothing. */
  readonly preTokenizer: string | undefined;
  readonly vocabSize: number;
  /** Bytes of the longest token's text; a token never stands for more bytes of a text. */
  readonly longestTokenBytes: number;
}

/**
 * Checks everything that libllama's vocabulary loader and tokenizer assume about a file's metadata, so that they neither abort,
 * nor throw across the C border, nor read outside an array on what {@link headerOnlyBytes} passes on to them.
 *
 * @throws FormatError naming the key; UnsupportedError for a tokenizer model or pre-tokenizer that the pinned build lacks or that
 *         is not safe in it, with the list of those that are
 * @see src/llama-vocab.cpp of the pinned llama.cpp
 */
export function checkVocabulary({ metadata }: GgufFile): VocabularyFacts {
  metadata.requireString("general.architecture");
  const model = metadata.requireString("tokenizer.ggml.model");
  if (!isVocabularyModel(model)) {
    throw new UnsupportedError(unsupported(metadata, "tokenizer.ggml.model", model, Object.keys(vocabularyModels)));
  }
  const { kind } = vocabularyModels[model];
  const preTokenizer = metadata.getString("tokenizer.ggml.pre");
  const pre = kind === "bpe" ? preTokenizerOf(metadata, model, preTokenizer) : {};

  const tokens = metadata.requireStrings("tokenizer.ggml.tokens");
  if (tokens.length === 0) throw metadata.error("tokenizer.ggml.tokens", "has no token");
  checkScores(metadata, tokens.length);
  const types = typesOf(metadata, tokens.length);
  const { table, longestTokenBytes } = checkTokens(metadata, tokens, kind);
  checkByteTokens(metadata, tokens, types, table, kind);
  if (kind === "bpe" && pre.rawUtf8 !== true) checkDecodable(metadata, tokens, types);
  if (kind === "bpe") checkMerges(metadata, preTokenizer);
  if (kind === "ugm") checkCharsmap(metadata);
  checkTypes(metadata);
  checkSpecialTokens(metadata, model, pre, tokens.length);
  checkPhi3(metadata, table);
  return { model, preTokenizer, vocabSize: tokens.length, longestTokenBytes };
}

type Model = keyof typeof vocabularyModels;
type Kind = (typeof vocabularyModels)[Model]["kind"];

function isVocabularyModel(name: string): name is Model {
  return Object.hasOwn(vocabularyModels, name);
}

function unsupported(metadata: Metadata, key: string, value: string, known: Iterable<string>): string {
  return `${metadata.file}: ${key} is ${JSON.stringify(value.slice(0, 80))}, which is not supported; these are: ${[...known].join(", ")}`;
}

function preTokenizerOf(metadata: Metadata, model: Model, name: string | undefined): PreTokenizer {
  if (model === "gemma4") return preTokenizers.get("gemma4")!; // whatever the file says
  if (name === undefined || name === "") return {};
  const pre = preTokenizers.get(name);
  if (pre === undefined) throw new UnsupportedError(unsupported(metadata, "tokenizer.ggml.pre", name, preTokenizers.keys()));
  return pre;
}

function checkLength(metadata: Metadata, key: string, length: number, vocabSize: number): void {
  if (length !== vocabSize) throw metadata.error(key, `has ${length} entries for ${vocabSize} tokens`);
}

function checkScores(metadata: Metadata, vocabSize: number): void {
  const key = "tokenizer.ggml.scores";
  const scores = metadata.getNumbers(key);
  if (scores === undefined) return;
  if (!(scores instanceof Float32Array || scores instanceof Int32Array)) throw metadata.error(key, "must be float32 or int32");
  checkLength(metadata, key, scores.length, vocabSize);
  const bad = scores.findIndex((score) => !Number.isFinite(score));
  if (bad >= 0) throw metadata.error(key, `the score of token ${bad} is ${scores[bad]}`);
}

function typesOf(metadata: Metadata, vocabSize: number): Int32Array | undefined {
  const key = "tokenizer.ggml.token_type";
  const types = metadata.getNumbers(key);
  if (types === undefined) return undefined;
  if (!(types instanceof Int32Array)) throw metadata.error(key, "must be int32");
  checkLength(metadata, key, types.length, vocabSize);
  const bad = types.findIndex((type) => type < 0 || type > tokenTypes.last);
  if (bad >= 0) throw metadata.error(key, `the type of token ${bad} is ${types[bad]}, which does not exist`);
  return types;
}

/** Every token by its text as the loader sees it: cut at a zero byte, and named after its index when nothing is left. */
function checkTokens(metadata: Metadata, tokens: StringArray, kind: Kind): { table: TokenTable; longestTokenBytes: number } {
  const key = "tokenizer.ggml.tokens";
  const table = new TokenTable(tokens);
  const empty: number[] = [];
  let longestTokenBytes = 0;
  for (let id = 0; id < tokens.length; id++) {
    const length = tokens.end(id) - tokens.start(id);
    if (length > maxTokenBytes) throw metadata.error(key, `token ${id} has ${length} bytes, more than ${maxTokenBytes}`);
    if (length === 0 || tokens.bytes[tokens.start(id)] === 0) {
      empty.push(id);
      continue;
    }
    const added = table.add(id);
    if (added.kind === "crowded") throw metadata.error(key, `token ${id} has the hash of a thousand others: made to, most likely`);
    if (added.kind === "twin") throw metadata.error(key, `tokens ${added.of} and ${id} are the same, ${JSON.stringify(tokens.at(id))}`);
    longestTokenBytes = Math.max(longestTokenBytes, added.bytes);
  }
  const twin = empty.find((id) => table.has(Buffer.from(`[EMPTY_${id}]`)));
  if (twin !== undefined) throw metadata.error(key, `token ${twin} is empty, and another is called [EMPTY_${twin}], its stand-in`);
  const notText = firstNotUtf8(tokens, (id) => kind === "spm" && tokens.end(id) - tokens.start(id) === 1); // raw bytes are in use there
  if (notText !== undefined) throw metadata.error(key, `token ${notText} is not UTF-8`);
  return { table, longestTokenBytes };
}

/**
 * Index of the first string that is not UTF-8, apart from excepted ones. The strings are checked in one piece with the lengths
 * between them, which is right as long as a length's bytes are ASCII and so end a character that is cut off.
 */
function firstNotUtf8(strings: StringArray, isExcepted: (index: number) => boolean): number | undefined {
  const areLengthsAscii = (index: number) => ((strings.end(index) - strings.start(index)) & 0x80808080) === 0;
  for (let from = 0, to = 0; from < strings.length; from = to) {
    do to++;
    while (to < strings.length && areLengthsAscii(to));
    if (isUtf8(strings.bytes.subarray(strings.start(from), strings.end(to - 1)))) continue;
    for (let index = from; index < to; index++) {
      if (!isUtf8(strings.bytesAt(index)) && !isExcepted(index)) return index;
    }
  }
  return undefined;
}

const byteToken = /^<0x[0-9A-Fa-f]{2}>/;

/** The name libllama looks a byte's token up by. */
const byteTokenName = (byte: number) => Buffer.from(`<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`);

function checkByteTokens(metadata: Metadata, tokens: StringArray, types: Int32Array | undefined, table: TokenTable, kind: Kind): void {
  for (let id = 0; id < (types?.length ?? 0); id++) {
    if (types![id] !== tokenTypes.byte) continue;
    if (kind === "wpm") throw metadata.error("tokenizer.ggml.token_type", `token ${id} is a byte token, which WordPiece does not have`);
    if (!byteToken.test(tokens.at(id))) {
      throw metadata.error("tokenizer.ggml.tokens", `byte token ${id} is ${JSON.stringify(tokens.at(id))}, expected the form <0x1F>`);
    }
  }
  if (kind !== "spm") return;
  for (let byte = 0; byte < 0xf5; byte++) {
    if (byte === 0xc0 || byte === 0xc1) continue; // like those from 0xf5 on, in no UTF-8 text
    if (table.has(byteTokenName(byte)) || (byte > 0 && table.has(Uint8Array.of(byte)))) continue;
    throw metadata.error("tokenizer.ggml.tokens", `has no token for the byte ${byte}, so not every text can be tokenized`);
  }
}

/** What libllama's decoding of ordinary tokens outside GPT-2's alphabet takes: their text once for each such character. */
function checkDecodable(metadata: Metadata, tokens: StringArray, types: Int32Array | undefined): void {
  let undecodable = 0;
  for (let id = 0; id < tokens.length; id++) {
    if (types !== undefined && types[id] !== tokenTypes.normal) continue;
    const start = tokens.start(id);
    const end = tokens.end(id);
    undecodable += charactersOutsideGpt2(tokens.bytes, start, end) * (end - start + 24);
    if (undecodable > maxUndecodableBytes) {
      throw metadata.error("tokenizer.ggml.tokens", `tokens up to ${id} have too many characters that stand for no byte`);
    }
  }
}

/** UTF-8 characters outside GPT-2's 256 for bytes: those of Latin-1 that print stand for themselves, U+0100 to U+0143 for the rest. */
function charactersOutsideGpt2(bytes: Uint8Array, start: number, end: number): number {
  let count = 0;
  for (let at = start; at < end; at++) {
    const byte = bytes[at]!;
    if ((byte > 0x20 && byte < 0x7f) || (byte & 0xc0) === 0x80) continue; // printable ASCII, or not a character's first byte
    const second = bytes[at + 1]!;
    const isInside =
      (byte === 0xc2 && second > 0xa0 && second !== 0xad) || byte === 0xc3 || byte === 0xc4 || (byte === 0xc5 && second < 0x84);
    if (!isInside) count++;
  }
  return count;
}

function checkMerges(metadata: Metadata, preTokenizer: string | undefined): void {
  const key = "tokenizer.ggml.merges";
  const merges = metadata.getStrings(key);
  if (merges === undefined) {
    if (preTokenizer === "kimi-k2") return;
    throw new FormatError(metadata.file, `the metadata lack the key ${key}, which a byte-pair encoding needs`);
  }
  const { bytes } = merges;
  for (let index = 0; index < merges.length; index++) {
    const end = merges.end(index);
    let space = merges.start(index) + 1;
    while (space < end && bytes[space] !== spaceByte) space++;
    if (space >= end - 1) throw metadata.error(key, `merge ${index} is not two parts with a space between them`);
    if (end - merges.start(index) > 2 * maxTokenBytes) throw metadata.error(key, `merge ${index} is longer than two tokens can be`);
  }
}

function checkCharsmap(metadata: Metadata): void {
  const key = "tokenizer.ggml.precompiled_charsmap";
  const charsmap = metadata.getNumbers(key);
  if (charsmap === undefined) return;
  if (!(charsmap instanceof Uint8Array || charsmap instanceof Int8Array)) throw metadata.error(key, "must be uint8 or int8");
  const fault = charsmapFault(new Uint8Array(charsmap.buffer, charsmap.byteOffset, charsmap.length));
  if (fault !== undefined) throw metadata.error(key, fault);
}

/** The loader accepts no other type for these keys. */
function checkTypes(metadata: Metadata): void {
  const expect = (key: string, type: MetadataType) => {
    const value = metadata.get(key);
    if (value !== undefined && value.type !== type) throw metadata.error(key, `is ${value.type}, expected ${type}`);
  };
  expect("general.name", "string");
  expect("tokenizer.ggml.token_type_count", "uint32");
  for (const key of booleanKeys) expect(key, "bool");
  for (const key of [...Object.values(specialKeys), ...otherSpecialKeys]) expect(key, "uint32");
  const suppressed = metadata.getNumbers("tokenizer.ggml.suppress_tokens");
  if (suppressed !== undefined && !(suppressed instanceof Int32Array)) {
    throw metadata.error("tokenizer.ggml.suppress_tokens", "must be int32");
  }
}

function checkSpecialTokens(metadata: Metadata, model: Model, pre: PreTokenizer, vocabSize: number): void {
  for (const key of [...Object.values(specialKeys), ...otherSpecialKeys]) metadata.getInteger(key, { max: vocabSize - 1 });
  const { kind, defaultIds, addBos, addEos } = vocabularyModels[model];
  const defaults: { [name in keyof typeof specialKeys]?: number } = pre.noDefaultBos ? { ...defaultIds, bos: vocabSize } : defaultIds;
  const isMissing = (name: keyof typeof specialKeys) => !metadata.has(specialKeys[name]) && (defaults[name] ?? vocabSize) >= vocabSize;
  const needs = (name: keyof typeof specialKeys, because: string) => {
    if (isMissing(name)) throw new FormatError(metadata.file, `the metadata lack the key ${specialKeys[name]}, needed because ${because}`);
  };
  const forcesBos = pre.rawUtf8 === true && pre.addBos === true; // Gemma 4's kind adds BOS whatever the file says
  const addsBos = forcesBos || (metadata.getBoolean("tokenizer.ggml.add_bos_token") ?? (addBos || pre.addBos === true));
  const addsEos = metadata.getBoolean("tokenizer.ggml.add_eos_token") ?? addEos;
  if (addsBos || kind === "wpm") needs("bos", "BOS is put before every text");
  if (addsEos && kind !== "wpm") needs("eos", "EOS is put after every text");
  if (kind === "wpm") needs("separator", "a separator is put after every text");
  if (kind === "wpm" || kind === "ugm") needs("unknown", "text outside the vocabulary becomes this token");
}

/** The loader gives files of this name special rules and looks these tokens up without asking whether they are there. */
function checkPhi3(metadata: Metadata, table: TokenTable): void {
  if (!/phi-?3/i.test(metadata.getString("general.name") ?? "")) return;
  const missing = ["</s>", "<unk>", "<s>", "<|endoftext|>"].find((token) => !table.has(Buffer.from(token)));
  if (missing !== undefined) throw metadata.error("tokenizer.ggml.tokens", `a phi-3 vocabulary needs the token ${missing}`);
}
