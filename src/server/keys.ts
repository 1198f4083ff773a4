import { createHash, timingSafeEqual } from "node:crypto";
import { HttpError } from "./http-error.ts";

/**
 * Checks `Authorization: Bearer …` against several keys. Digests of equal length are compared in constant time, every key whichever
 * fits, so that an answer's time tells nothing of any.
 */
export class Keys {
  readonly #digests: readonly Buffer[];

  constructor(keys: readonly string[]) {
    this.#digests = keys.map(digest);
  }

  /**
   * @returns the key's digest in hex, or undefined where none is asked for
   * @throws HttpError 401
   */
  check(authorization: string | undefined): string | undefined {
    if (this.#digests.length === 0) return undefined;
    const [, key] = /^Bearer +(.+)$/i.exec(authorization ?? "") ?? [];
    const given = digest(key ?? "");
    let isKnown = false;
    for (const known of this.#digests) isKnown = timingSafeEqual(known, given) || isKnown;
    if (key === undefined || !isKnown) throw new HttpError(401, "invalid_api_key", "a valid key is needed: Authorization: Bearer KEY");
    return given.toString("hex");
  }
}

function digest(key: string): Buffer {
  return createHash("sha256").update(key).digest();
}
