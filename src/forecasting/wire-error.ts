import { ChainruleError, type ErrorCode, FormatError, NativeError, NotFoundError, OptionError, UnsupportedError } from "../errors.ts";

/** An error on its way between processes: a structured clone keeps the message and loses the class. */
export type WireError =
  | {
      readonly code: ErrorCode;
      readonly message: string;
      readonly stack: string | undefined;
      readonly facts: Readonly<Record<string, unknown>>;
    }
  | { readonly code?: undefined; readonly error: unknown };

export function toWire(error: unknown): WireError {
  if (!(error instanceof ChainruleError)) return { error };
  const { code, message, stack, cause: _, ...facts } = error as ChainruleError & Record<string, unknown>;
  return { code, message, stack, facts };
}

/** Classes by code, without their constructors' arguments: the fields and the message are those of the error that was thrown. */
const classes: { readonly [Code in ErrorCode]?: { readonly prototype: ChainruleError } } = {
  OPTION: OptionError,
  FORMAT: FormatError,
  UNSUPPORTED: UnsupportedError,
  NOT_FOUND: NotFoundError,
  NATIVE: NativeError,
};

export function fromWire(wire: WireError): unknown {
  if (wire.code === undefined) return wire.error;
  const error = new Error(wire.message);
  const known = classes[wire.code];
  if (known !== undefined) Object.setPrototypeOf(error, known.prototype);
  return Object.assign(error, wire.facts, { code: wire.code, stack: wire.stack });
}
