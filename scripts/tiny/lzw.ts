/**
 * Unpacks LZW codes as Unix `compress` writes them (block mode, 9 to 16 bits, least significant bit first), without the three-byte header.
 *
 * @throws Error for a code that no encoder writes
 * @see Welch 1984, A Technique for High-Performance Data Compression
 */
export function unpackLzw(codes: Uint8Array): Buffer {
  const clear = 256;
  const parts: Buffer[] = [];
  const table: Buffer[] = Array.from({ length: 256 }, (_, byte) => Buffer.of(byte));
  table.push(Buffer.alloc(0)); // the place of `clear`
  let width = 9;
  let at = 0; // bit position of the next code
  let groupStart = 0; // codes of one width come in groups of eight: a change of width skips the rest of a group
  let previous: Buffer | undefined;
  const skipGroup = () => {
    const groupBits = width * 8;
    at = groupStart + Math.ceil((at - groupStart) / groupBits) * groupBits;
    groupStart = at;
  };
  const totalBits = codes.length * 8;
  while (at + width <= totalBits) {
    let code = 0;
    for (let bit = 0; bit < width; bit += 1) code |= ((codes[(at + bit) >> 3]! >> ((at + bit) & 7)) & 1) << bit;
    at += width;
    if (code === clear) {
      skipGroup();
      table.length = 257;
      width = 9;
      previous = undefined;
      continue;
    }
    const known = code < table.length ? table[code]! : undefined;
    if (known === undefined && (previous === undefined || code !== table.length))
      throw new Error(`LZW code ${code} at bit ${at} means nothing`);
    const bytes = known ?? Buffer.concat([previous!, previous!.subarray(0, 1)]);
    parts.push(bytes);
    if (previous !== undefined && table.length < 65536) table.push(Buffer.concat([previous, bytes.subarray(0, 1)]));
    previous = bytes;
    if (table.length === 2 ** width && width < 16) {
      skipGroup();
      width += 1;
    }
  }
  return Buffer.concat(parts);
}
